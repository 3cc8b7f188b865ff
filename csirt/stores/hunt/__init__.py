"""Hunting in stored events: select, sum up, query.

In: a store and a question. Out: batches in (time, id) order, sums, rows. Reads only; state: none.
"""
