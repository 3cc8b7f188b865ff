"""Conditions decided over columns: every test once per batch and distinct value, every rule where it could match."""
