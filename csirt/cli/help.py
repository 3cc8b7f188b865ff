"""`csirt help TOPIC`."""

from __future__ import annotations

import click

from csirt.cli.command import command
from csirt.cli.common import write
from csirt.errors import EXIT_CODES, NotFound

TOPICS = {
    "filters": """One grammar for lists, bulk verbs, silences and hunts.

  severity>=high          compare: = != < <= > >=
  member:dental           contains, or is the field's name of a kind
  age<2h  last>=1d        durations: s m h d
  state:open,acknowledged any of
  not:ack  -member:lab    not
  "two words"             free text
  a b                     both;  a or b: either;  ( … ) groups

  csirt cases list --where 'severity>=high not:ack'
  csirt events query --dataset flow --where 'destination.port:445 source.ip:10.31.0.0/16'""",
    "times": """Options that take a time accept

  2h, 30m, 7d                 so long ago
  2026-11-23T04:00Z           ISO 8601; without a zone it is the configured one
  2026-11-23                  midnight of that day
  yesterday, today, now

Times for people are absolute with the zone, and relative. Pipes, --json and --jsonl get UTC with Z.""",
    "environment": """CSIRT_CONFIG   configuration file (--config)
CSIRT_SOCKET   the daemon's command socket (--socket)
CSIRT_STORE    a store opened directly (--store)
CSIRT_LANG     nb or en (--lang)
NO_COLOR       no colour, whatever the terminal
TERM=dumb      the same
CSIRT_DEBUG    any value: an internal error shows its whole traceback
NUMBA_CACHE_DIR  where compiled kernels are kept; a read-only install needs it to start quickly

An option beats the environment, the environment the configuration file. The configuration file is --config,
CSIRT_CONFIG, ./csirt.toml or /etc/csirt/csirt.toml.""",
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
