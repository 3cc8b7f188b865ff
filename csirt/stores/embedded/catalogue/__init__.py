"""The catalogue: one SQLite file with documents, positions, states, hits, the audit chain and the names of the lake's
files."""
