"""ES|QL that finds where an alert may be: groups and stretches of time in which enough has come together.

Why nothing is missed. Let T be the timespan. Bucket k is [kT, (k+2)T): buckets are 2T long and overlap by T, and each
event is in two of them. A window [t-T, t] begins in some [kT, (k+1)T), so it ends before (k+2)T and lies in bucket k as
a whole. What is measured (`Search.measure`) never falls when events are added, and reaches `least` in every window in
which the condition holds. So it reaches `least` in the bucket around that window too, and the bucket is a candidate.

Why nothing is made up. The engine is given the events of the candidate buckets of a group (and maybe more of the same
group). A window whose bucket is a candidate is there as a whole, so the engine finds in it what it finds in the stream.
Of a window whose bucket is none only some events are there; what is measured of them is less than `least`, as it is for
the whole bucket, so the condition does not hold there, as it does not in the stream.

At the edges of a stretch (after, until] the cluster is asked from after - T on: windows that end in the stretch are
whole. Conditions are made wider than the rule (`csirt.detect.sector.wide`), which only adds events. Events of which the
cluster could not index every value (`_ignored`: too long a text, no address) pass any condition; where that may be the
value of a group, or one that is counted, groups are not told apart at all (`Survey.odd`).
"""

from __future__ import annotations

from csirt.model.search import Part, Search, quoted

MOST = 10_000  # rows that a cluster gives for one query
NANOS = 1_000
_LONGEST = (1 << 63) - 1
_BUCKET, _COUNT = "csirt_bucket", "csirt_count"


def survey(alias: str, search: Search, after: int, last: int) -> str:
    """How many events may matter: up to `after`, later (and when the first of those is), later than `last`; and whether
    any has a value that its group or count hangs on and that the cluster could not index. Times in microseconds."""
    odd = [f'concat(",", mv_concat(_ignored, ","), ",") like "*,{name},*"' for name in (*search.group, *search.fields)]
    odd += [f'to_string({quoted(name)}) == "{_LONGEST}"' for name in search.fields if search.measure == "values"]
    return (
        _events(alias, search)
        + f"| eval csirt_time = to_long(@timestamp), csirt_odd = case({' or '.join(odd) or 'false'}, 1, 0)\n"
        + f"| eval csirt_old = case(csirt_time <= {after * NANOS}, 1, 0), csirt_new = 1 - csirt_old\n"
        + "| eval csirt_first = case(csirt_new == 1, csirt_time, null), csirt_last = "
        + f"case(csirt_time > {last * NANOS}, 1, 0)\n"
        + "| stats csirt_old = sum(csirt_old), csirt_new = sum(csirt_new), csirt_first = min(csirt_first), "
        + "csirt_last = sum(csirt_last), csirt_odd = sum(csirt_odd)\n| limit 1"
    )


def candidates(alias: str, search: Search) -> str:
    """The groups of which a bucket is a candidate, with the first and the last such bucket."""
    if search.measure == "rows":
        raise ValueError("any event may be an alert: there is nothing to ask")
    fields = [quoted(name) for name in search.group]
    by = ", ".join(fields)
    return (
        _events(alias, search)
        + f"| eval {_BUCKET} = to_long(@timestamp) / {search.timespan * NANOS}\n"
        + f"| eval {_BUCKET} = mv_append({_BUCKET}, {_BUCKET} - 1)\n"
        + _measured(search, ", ".join([_BUCKET, *fields]))
        + f"| where {_COUNT} >= {search.least:.17g}\n"
        + f"| stats csirt_from = min({_BUCKET}), csirt_to = max({_BUCKET})"
        + (f" by {by}\n" if by else "\n")
        + f"| where csirt_from is not null\n| keep csirt_from, csirt_to{', ' * bool(by)}{by}\n| limit {MOST}"
    )


def events(alias: str, search: Search) -> str:
    """The events that may matter, in the order of their time and id, as many as a cluster gives at once."""
    return (
        _events(alias, search)
        + "| eval csirt_time = to_long(@timestamp)\n| keep csirt_time, event.id\n"
        + f"| sort csirt_time, event.id\n| limit {MOST}"
    )


def _events(alias: str, search: Search) -> str:
    return f"from {alias} metadata _ignored\n| where {' or '.join(_part(part) for part in search.parts)}\n"


def _part(part: Part) -> str:
    """That an event may be one of the rule's."""
    datasets = ", ".join(f'"{name}"' for name in sorted(part.datasets))
    said = f" and ({part.condition} or _ignored is not null)" if part.condition else ""
    return f"(event.dataset in ({datasets}){said})"


def _measured(search: Search, by: str) -> str:
    """What a bucket of a group comes to."""
    if search.measure == "events":
        return f"| stats {_COUNT} = count(*) by {by}\n"
    if search.measure == "values":  # exactly: an estimate could be too low
        fields = [quoted(name) for name in search.fields]
        there = " and ".join(f"{name} is not null" for name in fields)
        each = ", ".join(dict.fromkeys([*by.split(", "), *fields]))
        return f"| where {there}\n| stats csirt_rows = count(*) by {each}\n| stats {_COUNT} = count(*) by {by}\n"
    if search.measure == "rules":
        numbers = range(len(search.parts))
        marks = ", ".join(f"csirt_m{n} = case({_part(search.parts[n])}, 1, 0)" for n in numbers)
        most = ", ".join(f"csirt_m{n} = max(csirt_m{n})" for n in numbers)
        total = " + ".join(f"csirt_m{n}" for n in numbers)
        return f"| eval {marks}\n| stats {most} by {by}\n| eval {_COUNT} = {total}\n"
    number = f"to_double({quoted(search.fields[0])})"
    what = f"sum(case({number} > 0, {number}, 0.0))" if search.measure == "sum" else f"max({number})"
    return f"| stats {_COUNT} = {what} by {by}\n"
