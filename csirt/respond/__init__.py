"""Incidents become plans: what to do, what it will stop, how it is undone, when it ends.

In: an incident with its case and alerts, playbooks, the address register. Out: runs with their actions and receipts;
after an approval, ACL text in the outbox for a person to apply.
Drops: nothing; an action the guard refuses stays in the plan with the reason.
State: in runs and receipts; intent is committed before an effect, its outcome after.
"""
