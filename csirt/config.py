"""The configuration file: TOML, one section per stage in the order of the data flow, unknown keys refused."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from csirt.errors import Usage

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


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


class Section(BaseModel):
    """Base of every section: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Control(Section):
    """The command socket and who may use it."""

    socket: str = "/run/csirt/csirt.sock"
    group: str = ""  # the socket's group; empty leaves it as it is
    # Unix user name -> role (csirt.model.principal.ROLES). Users not named have no role.
    users: dict[str, str] = Field(default_factory=dict)


class Spool(Section):
    """Where received bytes rest until they are committed and `keep` has passed."""

    directory: str = ""  # default: <state>/spool
    segment_size: str | int = "64MiB"
    segment_age: str | int = "60s"
    limit: str | int = "20GiB"
    at_limit: Literal["drop_newest", "drop_oldest"] = "drop_newest"
    keep: str | int = "24h"
    sync: str | int = "200ms"


class Listener(Section):
    """One receiver the daemon starts itself."""

    source: str  # the id of the source that reads its spool
    kind: Literal["netflow", "syslog"]
    listen: str  # "127.0.0.1:2055", "[::]:514"
    transport: Literal["udp", "tcp"] = "udp"
    receive_buffer: str | int = "32MiB"


class Collect(Section):
    """Receivers."""

    spool: Spool = Field(default_factory=Spool)
    listeners: list[Listener] = Field(default_factory=list)


class Source(Section):
    """One input. `path`: a spool folder, a file, a glob, or a watched folder."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    type: Literal["netflow", "capture", "log", "syslog"]
    path: str = ""  # default for a listener's source: its spool folder
    parser: str = ""  # log, syslog: the parser's name in parsers/
    vrf: str = ""
    observer: str = ""  # the capture point's or relay's name
    timezone: str = ""  # of lines without a zone; default: the configuration's
    settle: str | int = "2s"  # a file in a watched folder is complete when its size has not changed this long


class Exporter(Section):
    """An edge router that is believed. `clock_offset`: how far its clock is known to be from ours."""

    address: str
    name: str = ""
    vrf: str = ""
    clock_offset: str | int = 0
    sampling_rate: int = 0  # forces the rate when not 0


class Decode(Section):
    """Bytes to columns."""

    exporters: list[Exporter] = Field(default_factory=list)
    accept_unknown_exporters: bool = True
    hold_bytes: str | int = "8MiB"
    hold_age: str | int = "30m"
    netflow_ports: list[int] = Field(default_factory=lambda: [2055, 2056, 4739, 9995, 9996, 6343])
    flow_period: str | int = "5m"  # flows metered from packets are cut at these boundaries of packet time
    idle_timeout: str | int = "15s"
    tshark: str = "tshark"
    dissect: list[str] = Field(default_factory=lambda: ["dns", "tls", "http"])
    # Mailbox local parts that name a function; everything else is taken for a person and becomes a pseudonym.
    organisation_mailboxes: list[str] = Field(default_factory=list)
    # Domains of the message network: all their mailboxes belong to organisations.
    organisation_domains: list[str] = Field(default_factory=list)
    pseudonym_key_file: str = ""  # default: <state>/pseudonym.key, made on first use


class Enrich(Section):
    """The address register."""

    register_file: str = Field(default="", alias="register")
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Detect(Section):
    """Rules. `rules`: more folders beside the shipped ones; `lateness`: how late an event may come."""

    shipped: bool = True
    rules: list[str] = Field(default_factory=list)
    disabled: list[str] = Field(default_factory=list)  # rule ids
    placeholders: dict[str, list[str]] = Field(default_factory=dict)
    lateness: str | int = "5m"
    idle_after: str | int = "30s"  # a source without input this long no longer holds the watermark back
    regex_budget: str | int = "2s"


class Correlate(Section):
    """Alerts to incidents."""

    window: str | int = "24h"


class Respond(Section):
    """Playbooks. `never_touch`: addresses, prefixes and member ids that no containment may name."""

    shipped: bool = True
    playbooks: list[str] = Field(default_factory=list)
    never_touch: list[str] = Field(default_factory=list)
    never_touch_kinds: list[str] = Field(default_factory=lambda: ["amk", "legevakt", "laboratory", "hospital"])
    members_per_hour: int = 3
    outbox: str = ""  # default: <state>/outbox
    expiry: str | int = "4h"


class Contact(Section):
    """A person or desk. `channel`: mail (an address) or webhook (a URL)."""

    name: str
    channel: Literal["mail", "webhook"]
    address: str
    user: str = ""  # the Unix user who may acknowledge as this contact


class Shift(Section):
    """Who is on call: contacts in order of escalation, for these hours (`"00:00-24:00"`) and days."""

    route: str
    contacts: list[str]
    days: list[str] = Field(default_factory=lambda: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
    hours: str = "00:00-24:00"


class Route(Section):
    """Which incidents go where. `match`: the filter grammar; the first matching route takes it unless `proceed`."""

    name: str
    match: str = ""
    contacts: list[str] = Field(default_factory=list)  # used when no shift covers the time
    group_wait: str | int = "10s"
    repeat: str | int = "4h"
    escalate: str | int = "10m"  # a P1 not acknowledged in this time goes to the next contact
    proceed: bool = False


class Notify(Section):
    """People."""

    smtp: str = ""  # host:port
    sender: str = "csirt@localhost"
    contacts: list[Contact] = Field(default_factory=list)
    shifts: list[Shift] = Field(default_factory=list)
    routes: list[Route] = Field(default_factory=list)
    timeout: str | int = "10s"


class Report(Section):
    """Reports to members."""

    directory: str = ""  # default: <state>/reports
    issuer: str = "CSIRT"
    phone: str = ""


class Stores(Section):
    """The store. `batch_rows`: how many rows one commit takes at most."""

    kind: Literal["embedded"] = "embedded"
    batch_rows: int = Field(default=100_000, ge=100, le=2_000_000)
    gather: str | int = "10s"
    compact_after: str | int = "60s"


class Retention(Section):
    """How long each kind of data is kept; see docs/privacy.md."""

    flow: str | int = "90d"
    packets: str | int = "7d"
    dns: str | int = "90d"
    tls: str | int = "90d"
    http: str | int = "90d"
    mail: str | int = "180d"
    edi: str | int = "180d"
    self_: str | int = Field(default="90d", alias="self")
    cases: str | int = "1095d"
    reports: str | int = "1095d"
    audit: str | int = "1826d"
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Health(Section):
    """Metrics and health on loopback; empty turns them off."""

    listen: str = "127.0.0.1:9466"


class Config(Section):
    """The whole configuration."""

    language: Literal["nb", "en"] = "en"
    timezone: str = "Europe/Oslo"
    state: str = "/var/lib/csirt"
    control: Control = Field(default_factory=Control)
    collect: Collect = Field(default_factory=Collect)
    sources: list[Source] = Field(default_factory=list)
    decode: Decode = Field(default_factory=Decode)
    enrich: Enrich = Field(default_factory=Enrich)
    detect: Detect = Field(default_factory=Detect)
    correlate: Correlate = Field(default_factory=Correlate)
    respond: Respond = Field(default_factory=Respond)
    notify: Notify = Field(default_factory=Notify)
    report: Report = Field(default_factory=Report)
    stores: Stores = Field(default_factory=Stores)
    retention: Retention = Field(default_factory=Retention)
    health: Health = Field(default_factory=Health)

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError(f"{value!r} is not a time zone: write one such as 'Europe/Oslo'") from error
        return value

    def path(self, name: str) -> Path:
        """A folder or file below the state folder: store, spool, outbox, reports, pseudonym.key."""
        given = {
            "spool": self.collect.spool.directory,
            "outbox": self.respond.outbox,
            "reports": self.report.directory,
            "pseudonym.key": self.decode.pseudonym_key_file,
        }.get(name, "")
        return Path(given) if given else Path(self.state) / name


def load(path: str | Path | None) -> Config:
    """Read and check a configuration file; None gives the defaults.

    Raises Usage with every problem at once, each with file, key and the nearest known name.
    """
    if path is None:
        return Config()
    name = str(path)
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise Usage(f"{name}: cannot be read: {error.strerror}") from error
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Usage(f"{name}: {error}; correct the TOML") from error
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        text = raw.decode("utf-8")
        lines = [_sentence(name, text, problem) for problem in error.errors(include_url=False, include_input=False)]
        raise Usage("\n".join(lines)) from error
    problems = _check_values(config)
    if problems:
        raise Usage("\n".join(f"{name}: {problem}" for problem in problems))
    return config


def _sentence(name: str, text: str, problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    where = ".".join(path)
    line = _line_of(text, path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known(path[:-1]), 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(sorted(_known(path[:-1])))}"
        return f"{name}:{line}: unknown key {where!r}{hint}"
    return f"{name}:{line}: {where}: {problem['msg']}"


def _known(path: list[str]) -> list[str]:
    model: Any = Config
    for part in path:
        if part.isdigit():
            continue
        fields = {(info.alias or key): info for key, info in model.model_fields.items()}
        if part not in fields:
            return []
        annotation = fields[part].annotation
        inner = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return [info.alias or key for key, info in model.model_fields.items()]


def _line_of(text: str, path: list[str]) -> int:
    """The line of a dotted key in TOML text: the last part, below its table header and array index; 1 when unsure."""
    names = [part for part in path if not part.isdigit()]
    indices = [int(part) for part in path if part.isdigit()]
    table, wanted = ".".join(names[:-1]), names[-1] if names else ""
    current, seen, best = "", -1, 1
    for number, line in enumerate(text.split("\n"), 1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
        if header:
            current = header.group(1)
            seen = seen + 1 if current == table else seen
            if current in (table, ".".join(names)):
                best = number
        elif (
            current == table
            and re.match(rf"\s*[\"']?{re.escape(wanted)}[\"']?\s*=", line)
            and (not indices or seen == indices[-1])
        ):
            return number
    return best


def _check_values(config: Config) -> list[str]:
    """Durations, sizes, references between sections."""
    from csirt.model.principal import ROLES

    problems: list[str] = []
    durations = {
        "collect.spool": (config.collect.spool, ("segment_age", "keep", "sync")),
        "decode": (config.decode, ("hold_age", "flow_period", "idle_timeout")),
        "detect": (config.detect, ("lateness", "idle_after", "regex_budget")),
        "correlate": (config.correlate, ("window",)),
        "respond": (config.respond, ("expiry",)),
        "notify": (config.notify, ("timeout",)),
        "stores": (config.stores, ("gather", "compact_after")),
        "retention": (config.retention, tuple(Retention.model_fields)),
    }
    for route in config.notify.routes:
        durations[f"notify.routes {route.name}"] = (route, ("group_wait", "repeat", "escalate"))
    for source in config.sources:
        durations[f"sources {source.id}"] = (source, ("settle",))
    for exporter in config.decode.exporters:
        durations[f"decode.exporters {exporter.address}"] = (exporter, ("clock_offset",))
    for where, (section, keys) in durations.items():
        for key in keys:
            try:
                duration(getattr(section, key))
            except ValueError as error:
                problems.append(f"{where}.{key}: {error}")
    sizes: list[tuple[str, str | int]] = [
        ("collect.spool.segment_size", config.collect.spool.segment_size),
        ("collect.spool.limit", config.collect.spool.limit),
        ("decode.hold_bytes", config.decode.hold_bytes),
    ]
    sizes += [
        (f"collect.listeners {item.source}.receive_buffer", item.receive_buffer) for item in config.collect.listeners
    ]
    for where, value in sizes:
        try:
            size(value)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    for user, role in config.control.users.items():
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, 1)
            problems.append(
                f"control.users.{user}: unknown role {role!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"roles: {', '.join(ROLES)}")
            )
    ids = [source.id for source in config.sources]
    problems += [
        f"sources: the id {name!r} occurs twice" for name in sorted({name for name in ids if ids.count(name) > 1})
    ]
    for source in config.sources:
        if source.type in ("log", "syslog") and not source.parser:
            problems.append(
                f"sources {source.id}: a {source.type} source needs `parser`; `csirt parsers list` names them"
            )
        if not source.path and not any(item.source == source.id for item in config.collect.listeners):
            problems.append(f"sources {source.id}: needs `path`, or a listener that fills its spool")
    problems += [
        f"collect.listeners: no source has the id {item.source!r}"
        for item in config.collect.listeners
        if item.source not in ids
    ]
    contacts = {contact.name for contact in config.notify.contacts}
    routes = {route.name for route in config.notify.routes}
    for route in config.notify.routes:
        problems += [
            f"notify.routes {route.name}: no contact {name!r}" for name in route.contacts if name not in contacts
        ]
    for shift in config.notify.shifts:
        problems += [f"notify.shifts: no contact {name!r}" for name in shift.contacts if name not in contacts]
        if shift.route not in routes:
            problems.append(f"notify.shifts: no route {shift.route!r}")
    return problems
