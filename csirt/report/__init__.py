"""What a member may read: its own flows and messages of a case, in its language, and what to do now.

In: a case with its incidents and alerts, a way to read events, the address register, one member.
Out: one HTML page, the same bytes for the same input and time of issue.
Drops: everything in which the member was not an end; names of counterparts unless an analyst released them.
State: none; finished pages rest as files (`shelf.py`), readable by the daemon's user alone.
"""
