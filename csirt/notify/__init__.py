"""People are told: routes, on call, mail and webhooks, acknowledgement, escalation, silences.

In: an incident with its case and alerts. Out: notifications in the store, then messages by mail and webhook.
Drops: `silenced` (a person's silence hides it, with its name), `suppressed` (acknowledged or closed before it was
sent), `failed` (the far end refuses it for good or never answers); each is a notification that says so, and counted.
State: notifications, and the silences under the store's state key `notify`.
"""
