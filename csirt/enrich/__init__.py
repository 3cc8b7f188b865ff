"""Columns to more columns: whose address this is, and what was agreed.

In: a batch as decoded, the address register.
Out: the same rows in the same order with the columns of `ecs.ENRICHED`.
Drops: nothing; every row that enters leaves. An address the register does not know is "outside".
State: none but the register in use, which `Enricher.replace` exchanges between two batches.
"""
