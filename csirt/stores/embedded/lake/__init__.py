"""The lake: events as Parquet files, one folder per dataset and hour of receipt (decision 8).

In: batches. Out: tables, by dataset, time, id. A file that no catalogue row names does not exist for anyone.
"""
