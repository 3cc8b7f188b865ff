"""Events as columns: what a field of a rule means in a table, and what single values mean."""
