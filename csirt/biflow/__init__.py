"""The pairing stage: flow records in, the same records with marks out (RFC 5103 calls the result biflows).

In: enriched `flow` rows with the time they are due, in any order. Out: which record counts a flow that several routers
saw (`csirt.flow.duplicate_of`), when a flow that was cut by active timeouts began (`csirt.flow.start`), who opened it,
whether it was answered, and the counters of its other direction. State: the open
flows, bounded. Drops: nothing; flows closed early by the bound, and records that came late, are counted.
Rules: `kernel.py`.
"""
