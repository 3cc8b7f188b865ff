"""Events and minute sums in a cluster, as far as `[stores.elasticsearch] content` sends them there.

In: what a commit put into the lake for good, noted in its transaction. Out: a document per chosen event, and one per
minute, pair of members and service. Drops: nothing; what the cluster refuses is listed, what retention took first is
counted. State: the notes, in the folder.
"""
