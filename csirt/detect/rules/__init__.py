"""Rule files to rules: read, checked, compiled, cached, deployed."""
