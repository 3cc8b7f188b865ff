"""`csirt messages`: what the 24/7 desk tells a caller whose message is gone. No content anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from csirt.cli.command import group
from csirt.cli.common import Settings, is_terminal, say, shared, write, write_json, write_rows


@group()
def messages() -> None:
    """EDI messages hop by hop, and those that lack a receipt.

    \b
    Examples:
      csirt messages trace 7104acf8-21e9-4ee7-b894-d413a00a8881
      csirt messages pending
    """


@messages.command("trace")
@click.argument("id", required=False, default="")
@click.option("--her", default="", metavar="HER-ID", help="Messages from or to this HER-id.")
@click.option("--since", default="", metavar="TIME", help="How far back to look (default: 7d before the last event).")
@click.option("--until", default="", metavar="TIME", help="Up to when.")
@click.option("--limit", type=click.IntRange(1), default=None, help="At most so many messages.")
@shared
def trace(settings: Settings, id: str, her: str, since: str, until: str, limit: int | None) -> None:
    """One message hop by hop. ID: of the message, its conversation, its mail or its place in a relay's queue.

    \b
    Examples:
      csirt messages trace 7104acf8-21e9-4ee7-b894-d413a00a8881
      csirt messages trace --her 910170 --since 4h
    """
    arguments = {"id": id, "her": her, "since": since, "until": until, "limit": limit}
    document = settings.client().call("messages.trace", **arguments)
    if settings.as_json:
        write_json(document)
        return
    speak = _Speech(settings)
    if not is_terminal():
        write_rows(
            [item["message_id"], index, hop["time"], hop["at"], hop["relay"], hop["step"], hop["status"], hop["code"],
             hop["queue"], hop["event"]]
            for item in document["items"] for index, hop in enumerate(item["hops"])
        )  # fmt: skip
        return
    if not document["items"]:
        write(speak("none_found"))
    for number, item in enumerate(document["items"]):
        if number:
            write()
        for line in speak.message(item):
            speak.write(line)
    if document["truncated"]:
        say(speak("truncated"))


@messages.command("pending")
@click.option("--her", default="", metavar="HER-ID", help="Only this receiver.")
@click.option("--since", default="", metavar="TIME", help="How far back to look (default: 7d before the last event).")
@click.option("--limit", type=click.IntRange(1), default=None, help="At most so many messages.")
@shared
def pending(settings: Settings, her: str, since: str, limit: int | None) -> None:
    """Messages without an application receipt: by receiver, then one by one, oldest first.

    \b
    Examples:
      csirt messages pending
      csirt messages pending --her 910011 --since 2d --json
    """
    document = settings.client().call("messages.pending", her=her, since=since, limit=limit)
    if settings.as_json:
        write_json(document)
        return
    speak = _Speech(settings)
    if not is_terminal():
        write_rows(
            [item["message_id"], item["first"], item["from"]["her"], item["to"]["her"], item["action"], item["state"],
             item["normal_s"]]
            for item in document["items"]
        )  # fmt: skip
        return
    if not document["receivers"]:
        write(speak("none_pending"))
    for receiver in document["receivers"]:
        speak.write(speak.receiver(receiver))
    for item in document["items"]:
        speak.write(speak.head(item), "  ")
        speak.write(speak.sentence(item), "    ")
    if document["truncated"]:
        say(speak("truncated"))


class _Speech:
    """Documents as sentences in the language asked for, every piece of foreign text made safe."""

    def __init__(self, settings: Settings) -> None:
        from csirt.cli.times import zone

        self._lang = settings.language()
        self._zone = zone("UTC" if settings.utc else settings.timezone())
        self._iso = settings.iso

    def __call__(self, key: str, **fields: Any) -> str:
        from csirt.messages import text
        from csirt.safety import terminal

        safe = {name: terminal(value) if isinstance(value, str) else value for name, value in fields.items()}
        return text(f"messages.{key}", self._lang, **safe)

    def write(self, line: str, indent: str = "") -> None:
        """A line within 80 columns."""
        from csirt.cli.casescreen import fold

        own = indent + " " * (len(line) - len(line.lstrip()))
        for folded in fold(line.strip(), own, own + "    "):
            write(folded)

    def message(self, item: dict[str, Any]) -> list[str]:
        """A headline, the sentence for the caller, one line per hop."""
        lines = [self.head(item), self.sentence(item)]
        for hop in item["hops"]:
            step = self(f"step_{hop['step']}" if hop["step"] else "step_other")
            where = self(f"at_{hop['at']}", relay=hop["relay"] or self("somebody"))
            gap = "" if hop["gap_s"] is None else f"+{self.span(hop['gap_s'])}"
            codes = " ".join(filter(None, (hop["code"], hop["reason"] if hop["step"] != "delivered" else None)))
            detail = f" ({self._safe(codes)})" if codes else ""
            lines.append(f"  {self.clock(hop['time'], seconds=True)} {gap:>9}  {where}: {step}{detail}")
        return lines

    def head(self, item: dict[str, Any]) -> str:
        """What it is, from whom to whom."""
        parties = {"sender": self._party(item["from"]), "receiver": self._party(item["to"])}
        return self("head", action=item["action"] or self("somebody"), id=item["message_id"], **parties)

    def receiver(self, entry: dict[str, Any]) -> str:
        """How many wait for one receiver."""
        normal = " " + self._normal(entry) if entry["normal_s"] is not None else ""
        return self("receiver", receiver=self._party(entry), n=entry["pending"], time=self.clock(entry["oldest"]),
                    normal=normal)  # fmt: skip

    def sentence(self, item: dict[str, Any]) -> str:
        """`Received 09:12, transport-acked 09:13, application receipt missing (receiver's normal: 20 min).`"""
        times = item["times"]
        day = self._local(item["first"]).date()

        def at(name: str) -> str:
            return self.clock(times[name], day)

        code = item["code"] or self("no_code")
        parts = [self(name, time=at(name)) for name in ("received", "sent") if times[name]]
        parts.append(self("acknowledged", time=at("acknowledged")) if times["acknowledged"] else "")
        state = item["state"]
        if state == "relayed":
            return _capital(self("relayed"))
        if state in ("confirmed", "rejected"):
            parts.append(self(state, time=at("application_receipt"), code=code))
        else:
            if not times["acknowledged"]:
                parts.append(self("not_acknowledged"))
            if item["retries"]:
                parts.append(self("retries", n=item["retries"]))
            if state in ("failed", "given_up"):
                parts.append(self(state, time=at("error" if state == "failed" else "given_up"), code=code))
            missing = self("missing")
            parts.append(f"{missing} {self._normal(item)}" if item["normal_s"] is not None else missing)
        text = ", ".join(part for part in parts if part)
        return _capital(text)

    def clock(self, time: str, day: Any = None, *, seconds: bool = False) -> str:
        """`09:12`, with the date unless it is `day`; the zone when the date is shown."""
        if self._iso:
            return time
        local = self._local(time)
        shown = local.strftime("%H:%M:%S" if seconds else "%H:%M")
        return shown if local.date() == day else local.strftime("%Y-%m-%d ") + shown + local.strftime(" %Z")

    def span(self, seconds: float) -> str:
        """A length of time in its largest whole unit."""
        for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
            if seconds >= (2 * unit if unit > 60 else unit):
                return self(name, n=int(seconds // unit))
        return self("seconds", n=round(seconds, 1) if seconds < 10 else int(seconds))

    def _normal(self, item: dict[str, Any]) -> str:
        return self("normal", span=self.span(item["normal_s"]))

    def _party(self, party: dict[str, Any]) -> str:
        if not party["her"]:
            return self._safe(party["member"] or self("somebody"))
        return self("member" if party["member"] else "her", **{name: party[name] for name in ("her", "member")})

    def _safe(self, value: str) -> str:
        from csirt.safety import terminal

        return terminal(value)

    def _local(self, time: str) -> datetime:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).astimezone(UTC).astimezone(self._zone)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
