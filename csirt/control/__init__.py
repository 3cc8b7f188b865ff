"""The command socket: what the command line may ask of the daemon, and who asks.

In: one JSON request per line on a Unix socket. Out: one JSON answer, or a stream of items and an end.
Verbs live in `control/verbs/`, one module per noun; the same verbs run in-process on a store that no daemon owns.
"""
