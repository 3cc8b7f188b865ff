"""The configuration: one section per stage in the order of the data flow. `csirt.configfile` reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from csirt.model.principal import ROLES
from csirt.section import Section, between, nearest

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


@lru_cache(1_024)
def duration(text: str | int | float) -> int:
    """`"90s"`, `"5m"`, `"2h"`, `"30d"`, `"-1h"` or a number of seconds, as microseconds. Raises ValueError."""
    if isinstance(text, int | float):
        return int(text * 1_000_000)
    match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*", text)
    if not match:
        raise ValueError(f"{text!r} is not a duration: write a number and s, m, h or d, such as '90s' or '2h'")
    return int(float(match.group(1)) * _UNITS[match.group(2)])


def size(text: str | int) -> int:
    """`"256MiB"`, `"20GiB"` or a number of bytes, as bytes. Raises ValueError."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)\s*", text)
    if not match:
        raise ValueError(f"{text!r} is not a size: write a number and B, KiB, MiB, GiB or TiB")
    return int(float(match.group(1)) * 1024 ** ("B", "KiB", "MiB", "GiB", "TiB").index(match.group(2)))


def zone(name: str) -> str:
    """A time zone by its name. Raises ValueError."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except Exception as error:
        raise ValueError(f"{name!r} is not a time zone: write one such as 'Europe/Oslo'") from error
    return name


def role(name: str) -> str:
    """A role of `csirt.model.principal`. Raises ValueError."""
    if name not in ROLES:
        raise ValueError(f"unknown role {name!r}{nearest(name, ROLES)}")
    return name


def source_id(text: str) -> str:
    """The id of a source. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", text):
        raise ValueError(f"{text!r} is no source id: lower-case letters, digits and _ . - only, 64 at most")
    return text


Duration = Annotated[str | int, duration]
Size = Annotated[str | int, size]


@dataclass(kw_only=True)
class Control(Section):
    """The command socket and who may use it."""

    socket: str = "/run/csirt/csirt.sock"
    group: str = ""  # the socket's group; empty leaves it as it is
    # Unix user name -> role (csirt.model.principal.ROLES). Users not named have no role.
    users: dict[str, Annotated[str, role]] = field(default_factory=dict)


@dataclass(kw_only=True)
class Spool(Section):
    """Where received bytes rest until they are committed and `keep` has passed."""

    directory: str = ""  # default: <state>/spool
    segment_size: Size = "64MiB"
    segment_age: Duration = "60s"
    limit: Size = "20GiB"
    at_limit: Literal["drop_newest", "drop_oldest"] = "drop_newest"
    keep: Duration = "24h"
    sync: Duration = "200ms"


@dataclass(kw_only=True)
class Listener(Section):
    """One receiver the daemon starts itself."""

    source: str  # the id of the source that reads its spool
    kind: Literal["netflow", "syslog"]
    listen: str  # "127.0.0.1:2055", "[::]:514"
    transport: Literal["udp", "tcp", "tls"] = "udp"
    receive_buffer: Size = "32MiB"
    gather: Duration = "30ms"  # netflow over udp: datagrams may wait so long in the receive buffer for others
    workers: Annotated[int, between(1, 64)] = 1  # netflow over udp: sockets on the port, each with a thread and a lane
    certificate: str = ""  # tls: PEM files; a name without `/` is a systemd credential
    key: str = ""
    client_ca: str = ""  # tls: senders must then have a certificate from it

    def lanes(self) -> list[str]:
        """The lanes of its source that it fills (`model/spool.py`); the first has no name."""
        if self.transport == "tls" or (self.kind == "netflow" and self.transport == "tcp"):
            return [self.transport]
        return ["", *map(str, range(1, self.workers))]


@dataclass(kw_only=True)
class Collect(Section):
    """Receivers."""

    spool: Spool = field(default_factory=Spool)
    listeners: list[Listener] = field(default_factory=list)


@dataclass(kw_only=True)
class Source(Section):
    """One input. `path`: a spool folder, a file, a glob, or a watched folder."""

    id: Annotated[str, source_id]
    type: Literal["netflow", "capture", "log", "syslog"]
    path: str = ""  # default for a listener's source: its spool folder
    parser: str = ""  # log, syslog: the parser's name in parsers/
    vrf: str = ""
    observer: str = ""  # the capture point's or relay's name
    timezone: str = ""  # of lines without a zone; default: the configuration's
    settle: Duration = "2s"  # a file in a watched folder is complete when its size has not changed this long


@dataclass(kw_only=True)
class Exporter(Section):
    """An edge router that is believed. `clock_offset`: how far its clock is known to be from ours."""

    address: str
    name: str = ""
    vrf: str = ""
    clock_offset: Duration = 0
    sampling_rate: int = 0  # forces the rate when not 0


@dataclass(kw_only=True)
class Decode(Section):
    """Bytes to columns."""

    exporters: list[Exporter] = field(default_factory=list)
    accept_unknown_exporters: bool = False  # where none is listed, everybody is believed
    exporter_expiry: Duration = "7d"  # by receive time; 0 never
    template_expiry: Duration = 0  # likewise, without a refresh: routers resend rarely
    hold_bytes: Size = "8MiB"
    hold_age: Duration = "30m"
    workers: Annotated[int, between(1, 64)] = 1  # threads that read, decode, enrich, match and write files
    netflow_ports: list[int] = field(default_factory=lambda: [2055, 2056, 4739, 9995, 9996, 6343])
    flow_period: Duration = "5m"  # flows metered from packets are cut at these boundaries of packet time
    idle_timeout: Duration = "15s"
    tshark: str = "tshark"
    dissect: list[str] = field(default_factory=lambda: ["dns", "tls", "http"])
    # Mailbox local parts that name a function; everything else is taken for a person and becomes a pseudonym.
    organisation_mailboxes: list[str] = field(default_factory=list)
    # Domains of the message network: all their mailboxes belong to organisations.
    organisation_domains: list[str] = field(default_factory=list)
    pseudonym_key_file: str = ""  # default: <state>/pseudonym.key, made on first use


@dataclass(kw_only=True)
class Enrich(Section):
    """The address register, and indicators. `indicator_ttl`: the longest one lives, whatever its source says."""

    register_file: str = field(default="", metadata={"key": "register"})
    indicator_ttl: Duration = "365d"


@dataclass(kw_only=True)
class Biflow(Section):
    """Pairing flows. `ahead`: how long after a record its other direction may end (never more than
    `detect.lateness`); `gap`: the longest pause between two records of one flow; `pairs`: open flows kept."""

    ahead: Duration = "10s"
    gap: Duration = "60s"
    pairs: Annotated[int, between(1_000, 10_000_000)] = 250_000


@dataclass(kw_only=True)
class Detect(Section):
    """Rules. `rules`: more folders beside the shipped ones; `lateness`: how late an event may come; `sector_every`: how
    often a cluster is asked for rules of `scope: sector`."""

    shipped: bool = True
    rules: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)  # rule ids
    placeholders: dict[str, list[str]] = field(default_factory=dict)
    lateness: Duration = "5m"
    idle_after: Duration = "30s"  # a source without input this long no longer holds the watermark back
    regex_budget: Duration = "2s"
    sector_every: Duration = "60s"


@dataclass(kw_only=True)
class Correlate(Section):
    """Alerts to incidents."""

    window: Duration = "24h"


@dataclass(kw_only=True)
class Respond(Section):
    """Playbooks. `never_touch`: addresses, prefixes and member ids that no containment may name."""

    shipped: bool = True
    playbooks: list[str] = field(default_factory=list)
    never_touch: list[str] = field(default_factory=list)
    never_touch_kinds: list[str] = field(default_factory=lambda: ["amk", "legevakt", "laboratory", "hospital"])
    members_per_hour: int = 3
    outbox: str = ""  # default: <state>/outbox
    expiry: Duration = "8h"  # no containment lasts longer, whatever its playbook says


@dataclass(kw_only=True)
class Contact(Section):
    """A person or desk. `channel`: mail (an address) or webhook (a URL)."""

    name: str
    channel: Literal["mail", "webhook"]
    address: str
    user: str = ""  # the Unix user who may acknowledge as this contact


@dataclass(kw_only=True)
class Shift(Section):
    """Who is on call: contacts in order of escalation, for these hours (`"00:00-24:00"`) and days."""

    route: str
    contacts: list[str]
    days: list[str] = field(default_factory=lambda: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
    hours: str = "00:00-24:00"


@dataclass(kw_only=True)
class Route(Section):
    """Which incidents go where. `match`: the filter grammar; the first matching route takes it unless `proceed`."""

    name: str
    match: str = ""
    contacts: list[str] = field(default_factory=list)  # used when no shift covers the time
    group_wait: Duration = "10s"
    repeat: Duration = "4h"
    escalate: Duration = "10m"  # a P1 not acknowledged in this time goes to the next contact
    proceed: bool = False


@dataclass(kw_only=True)
class Notify(Section):
    """People."""

    smtp: str = ""  # host:port
    sender: str = "csirt@localhost"
    contacts: list[Contact] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    timeout: Duration = "10s"


@dataclass(kw_only=True)
class Report(Section):
    """Reports to members."""

    directory: str = ""  # default: <state>/reports
    issuer: str = "CSIRT"
    phone: str = ""


@dataclass(kw_only=True)
class ElasticCluster(Section):
    """The cluster that gets every document of a store of kind `elasticsearch`. `in_flight`: bulk requests at once.
    `compress`: them, where the way there is slower than gzip.
    `content`: what of the events it gets beside those documents.
    `node`: the name of this daemon where several share the cluster; `absent_after`: how long event time waits for one
    of them that is not heard of. The log that they share goes on in a new index after `log_entries` or `log_size`, and
    is kept from `log_tail` entries before the last snapshot on; no longer for a node that is not heard of for
    `forget_after`."""

    urls: list[str] = field(default_factory=list)  # "https://es1.example:9200"
    ca: str = ""  # PEM file of the authority; a name without `/` is a systemd credential
    api_key: str = ""  # likewise a file: what the cluster calls the key's encoded form
    prefix: str = "csirt"  # of the names of indices and templates
    timeout: Duration = "30s"
    in_flight: Annotated[int, between(1, 16)] = 3
    compress: bool = False
    # aggregates: those that rules matched, and flows added up by minute; all: also every event by itself
    content: Literal["none", "matched", "aggregates", "all"] = "aggregates"
    node: str = ""
    absent_after: Duration = "5m"
    log_entries: Annotated[int, between(10, 1_000_000)] = 10_000
    log_size: Size = "256MiB"
    log_tail: Annotated[int, between(0, 1_000_000)] = 1_000
    forget_after: Duration = "3d"


@dataclass(kw_only=True)
class Stores(Section):
    """The store. `batch_rows`: how many rows one commit takes at most."""

    kind: Literal["embedded", "elasticsearch"] = "embedded"
    batch_rows: Annotated[int, between(100, 2_000_000)] = 100_000
    gather: Duration = "10s"
    compact_after: Duration = "60s"
    elasticsearch: ElasticCluster = field(default_factory=ElasticCluster)


@dataclass(kw_only=True)
class Retention(Section):
    """How long each kind of data is kept; see docs/privacy.md."""

    flow: Duration = "90d"
    packets: Duration = "7d"
    dns: Duration = "90d"
    tls: Duration = "90d"
    http: Duration = "90d"
    mail: Duration = "180d"
    edi: Duration = "180d"
    self_: Duration = field(default="90d", metadata={"key": "self"})
    minutes: Duration = "365d"  # sums of flows in a cluster
    cases: Duration = "1095d"
    reports: Duration = "1095d"
    audit: Duration = "1826d"


@dataclass(kw_only=True)
class Health(Section):
    """Metrics and health on loopback; empty turns them off."""

    listen: str = "127.0.0.1:9466"


@dataclass(kw_only=True)
class Config(Section):
    """The whole configuration."""

    language: Literal["nb", "en"] = "en"
    timezone: Annotated[str, zone] = "Europe/Oslo"
    state: str = "/var/lib/csirt"
    control: Control = field(default_factory=Control)
    collect: Collect = field(default_factory=Collect)
    sources: list[Source] = field(default_factory=list)
    decode: Decode = field(default_factory=Decode)
    enrich: Enrich = field(default_factory=Enrich)
    biflow: Biflow = field(default_factory=Biflow)
    detect: Detect = field(default_factory=Detect)
    correlate: Correlate = field(default_factory=Correlate)
    respond: Respond = field(default_factory=Respond)
    notify: Notify = field(default_factory=Notify)
    report: Report = field(default_factory=Report)
    stores: Stores = field(default_factory=Stores)
    retention: Retention = field(default_factory=Retention)
    health: Health = field(default_factory=Health)

    def path(self, name: str) -> Path:
        """A folder or file below the state folder: store, spool, outbox, reports, pseudonym.key."""
        given = {
            "spool": self.collect.spool.directory,
            "outbox": self.respond.outbox,
            "reports": self.report.directory,
            "pseudonym.key": self.decode.pseudonym_key_file,
        }.get(name, "")
        return Path(given) if given else Path(self.state) / name
