"""What the cluster is asked for rules that must see the events of all nodes.

In: a search, and a stretch of event time. Out: the events that may matter there, as tables of the lake's form. Drops:
nothing that a search could find; docs/elasticsearch.md says what the cluster does not hold. State: none.
"""
