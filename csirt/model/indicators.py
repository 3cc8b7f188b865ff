"""How rules name lists of indicators: `%indicators_LIST_ips%` and `%indicators_LIST_domains%`, for `|expand`."""

from __future__ import annotations

PREFIX = "indicators_"
# A list without values, or one that is not there, is no error of the rules that use it: nothing is equal to this.
NOTHING = "\0no indicator"
