"""The shared nouns. Imports nothing of csirt but `clock`, `ids` and `errors`; every stage imports from here."""
