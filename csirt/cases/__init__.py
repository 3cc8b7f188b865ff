"""What people do to incidents: own, note, judge, merge, split, close, reopen, undo.

In: changed incidents, and what analysts say. Out: case events and the cases they fold into.
Drops: nothing: a case is the fold of its append-only events; undoing adds an event.
State: in the case's events.
"""
