"""Indicators: lists of addresses, networks and domains that others call bad, and events that meet them.

In: MISP JSON, STIX 2.1, CSV (`document.parse`), then batches (`marker.Marker.columns`). Out: `threat.indicator.*`
columns, and values for `%indicators_LIST_…%` in rules. Drops: items that cannot be used, each with its place and
reason; what is over. State: the book, one file in the state folder (`book.Book`).
"""
