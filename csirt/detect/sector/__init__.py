"""Rules of the whole sector: searches that find at least what matters, and the exact answer over what they found."""
