"""Columns to matches: Sigma rules over columnar batches, Sigma correlations over event time, alerts."""
