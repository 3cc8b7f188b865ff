"""`csirt help TOPIC`."""

from __future__ import annotations

import click

from csirt.cli.command import command
from csirt.cli.common import write
from csirt.errors import EXIT_CODES, NotFound

TOPICS = {
    "filters": """One grammar for lists, bulk verbs, silences, routes and hunts.

  severity>=high            compare: = != < <= > >=
  member:dental             is that word, or begins with it; text ignores case
  rule:*fan-out*            * is any run of characters
  state:open,acknowledged   any of the values
  ip:10.31.0.0/16           an address in the prefix
  age<2h  last>=1d          lengths of time: s m h d
  first>=2026-11-23         a day, or a time: csirt help times
  not:ack  is:clinical      a flag is not set, is set
  "two words"  worm         free text
  -member:lab  -worm        not
  a b   a or b   ( ... )    both, either, grouped

Fields: those of the list at hand; a slip is answered with the nearest name.

  csirt cases list --where 'severity>=high not:ack'
  csirt events query --where 'destination.port:445 source.ip:10.31.0.0/16'""",
    "times": """Options that take a time accept

  2h, 30m, 7d                 so long ago
  2026-11-23T04:00Z           ISO 8601; without a zone it is the configured one
  2026-11-23                  midnight of that day
  yesterday, today, now

Times for people are absolute with the zone, and relative: 03:12 CET, 4 min ago.
In the doubled hour of autumn the zone tells which of the two: 02:30 CEST comes
before 02:30 CET. --utc shows UTC, --iso what programs get. Lists off a
terminal, --json and --jsonl have ISO 8601 in UTC with Z, always.""",
    "environment": """CSIRT_CONFIG     configuration file (--config)
CSIRT_SOCKET     the daemon's command socket (--socket)
CSIRT_STORE      a store opened directly (--store)
CSIRT_LANG       nb or en (--lang)
CSIRT_DEBUG      any value: an internal error shows its whole traceback
NO_COLOR         no colour, whatever the terminal
TERM=dumb        the same
XDG_STATE_HOME   where @last is remembered (default ~/.local/state)
XDG_CACHE_HOME   where compiled rules are kept (default ~/.cache)
CACHE_DIRECTORY  the same, before it; systemd sets it for units
NUMBA_CACHE_DIR  where compiled kernels are kept; a read-only install needs it
GLIBC_TUNABLES   glibc.malloc.hugetlb=1: memory in large pages, a tenth less CPU
                 where transparent_hugepage is madvise; the unit sets it

An option beats the environment, the environment the configuration file, which
is --config, CSIRT_CONFIG, ./csirt.toml or /etc/csirt/csirt.toml.""",
    "exit-codes": "\n".join(f"{code:>4}  {meaning}" for code, meaning in EXIT_CODES.items()),
}


@command("help")
@click.argument("topic", required=False)
@click.pass_context
def help(ctx: click.Context, topic: str | None) -> None:
    """Topics: filters, times, exit-codes, environment.

    \b
    Examples:
      csirt help filters
      csirt help exit-codes
    """
    if topic is None:
        parent = ctx.parent
        assert parent is not None
        write(parent.get_help())
        return
    if topic not in TOPICS:
        raise NotFound(f"no topic {topic!r}; there are: {', '.join(TOPICS)}")
    write(TOPICS[topic])
