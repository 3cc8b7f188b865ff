"""Several daemons that share one cluster: alerts, incidents, cases and what people do to them are one log.

In: commits of this node, and entries of the log. Out: entries of the log, and the folder as all entries so far make it.
Drops: nothing. State: the folder, with how much of the log it has. docs/elasticsearch.md says why it is built so.
"""
