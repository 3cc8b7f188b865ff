"""What may leave decode: identity numbers are removed, personal mailboxes become keyed pseudonyms (decision 15).

Everything works on whole columns, once per distinct value. The same mailbox gives the same pseudonym wherever it is
found, so that a message can be followed; without the key nobody can compute or test one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

import polars as pl

from csirt.decode import identity

# Local parts that name a function in any organisation (RFC 2142 and Norwegian habit).
FUNCTIONAL = frozenset({
    "abuse", "admin", "administrator", "apotek", "arkiv", "booking", "daemon", "dmarc", "drift", "edi", "epost",
    "faktura", "firmapost", "hostmaster", "info", "it", "it-drift", "itdrift", "kontakt", "kontor", "kundeservice",
    "laboratorium", "lab", "legekontor", "legevakt", "mailer-daemon", "mailer", "mail", "meldinger", "mottak",
    "no-reply", "noc", "noreply", "nobody", "post", "postboks", "postfix", "postkasse", "postmaster", "postmottak",
    "report", "reports", "resepsjon", "root", "security", "servicedesk", "sikkerhet", "support", "sykehus", "vakt",
    "webmaster", "www-data",
})  # fmt: skip
# Words that message handlers put into the ids they make; any other word in an id may be somebody's name.
_WORDS = frozenset({
    "ack", "apprec", "conv", "conversation", "cpa", "demo", "ebms", "ebxml", "edi", "evt", "id", "javamail",
    "localhost", "mail", "message", "mime", "msg", "msh", "none", "null", "ref", "referral", "req", "request",
    "smtp", "swift", "test", "uuid", "xml",
})  # fmt: skip
_HEX = re.compile(r"[0-9a-fA-F]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
_DOMAIN = re.compile(r"[A-Za-z0-9._\-]{1,253}|\[[0-9A-Za-z:.]{1,60}\]")
_EMBEDDED = re.compile(r"""[^\s<>()\[\],;:"@]+(?:@|%40)[A-Za-z0-9][A-Za-z0-9.\-]*""")
KINDS = ("text", "host", "mailbox", "message_id")


class Privacy:
    """Scrubs columns with one key. Pure: the key is given, nothing is read or written.

    `organisation_domains`: domains (with their sub-domains) whose mailboxes all belong to organisations, such as those
    of the message network. `organisation_mailboxes`: further local parts, or whole addresses, that name a function.
    """

    def __init__(
        self,
        key: bytes,
        organisation_domains: Iterable[str] = (),
        organisation_mailboxes: Iterable[str] = (),
    ) -> None:
        if len(key) < 16:
            raise ValueError("the pseudonym key must have at least 16 bytes")
        self._key = key[:64]
        self._domains = tuple(name.lower().strip(".@") for name in organisation_domains if name.strip(".@"))
        self._boxes = FUNCTIONAL | {name.lower() for name in organisation_mailboxes}

    def pseudonym(self, address: str) -> str:
        """`p-` and 16 hex digits of keyed BLAKE2b over the address in lower case."""
        raw = address.lower().encode("utf-8", "surrogatepass")
        return "p-" + hashlib.blake2b(raw, key=self._key, digest_size=8, person=b"csirt-mailbox").hexdigest()

    def organisation(self, local: str, domain: str) -> bool:
        """Whether a mailbox belongs to an organisation, not to a person."""
        local, domain = local.lower(), domain.lower().rstrip(".")
        if any(domain == name or domain.endswith("." + name) for name in self._domains):
            return True
        return local in self._boxes or local.partition("+")[0] in self._boxes or f"{local}@{domain}" in self._boxes

    def mailbox(self, text: str) -> str | None:
        """One address: an organisation's as it is, in lower case; a person's as `p-<16 hex>@domain`; none for `<>`.

        An identity number in the local part is dropped, not turned into a pseudonym: whoever holds the key could try
        them all.
        """
        clean = text.strip().strip("<>").strip()
        if not clean:
            return None
        local, at, domain = clean.rpartition("@")
        if not at:
            local, domain = clean, ""
        tail = f"@{identity.remove(domain.lower())[0]}" if _DOMAIN.fullmatch(domain) else ""
        if identity.find(local) or identity.find(clean):
            return identity.REMOVED + tail
        plain = re.fullmatch(r"[\w.+\-]{1,64}", local, re.ASCII)
        if plain and self.organisation(local, domain):
            return local.lower() + tail
        return self.pseudonym(f"{local}@{domain}" if tail else clean) + tail

    def message_id(self, text: str) -> str | None:
        """One message id without its angle brackets: kept when a machine made it, otherwise its part before the `@`
        becomes a pseudonym, for it may be, or hold, a person's mailbox."""
        clean = text.strip().strip("<>").strip()
        if not clean:
            return None
        local, at, domain = clean.rpartition("@")
        if not at:
            return self.text(clean)
        tail = f"@{identity.remove(domain)[0]}" if _DOMAIN.fullmatch(domain) else ""
        scrubbed, removed = identity.remove(local)
        if removed:
            return (scrubbed if self._made(scrubbed.replace(identity.REMOVED, "")) else identity.REMOVED) + tail
        if identity.find(clean):
            return identity.REMOVED
        if tail and (self._made(local) or (re.fullmatch(r"[\w.+\-$]+", local) and self.organisation(local, domain))):
            return local + tail
        return self.pseudonym(clean) + tail

    def _made(self, local: str) -> bool:
        """Whether an id's local part holds nothing but digits, hex, short letter groups and words of handlers."""
        if not local or any(sign in local for sign in "@=%\"' "):
            return False
        return all(_HEX.fullmatch(word) or word.lower() in _WORDS for word in _WORD.findall(local))

    def text(self, text: str) -> str:
        """Any other value: identity numbers removed, mailboxes in it treated as mailboxes."""
        clean, _ = identity.remove(text)
        if "@" in clean or "%40" in clean:
            clean = _EMBEDDED.sub(lambda match: self.mailbox(match.group().replace("%40", "@")) or "", clean)
        return clean

    def host(self, text: str) -> str:
        """A host name: kept, without identity numbers."""
        return identity.remove(text)[0]

    def column(self, values: pl.Series, kind: str) -> tuple[pl.Series, int]:
        """A whole text column, scrubbed as `kind` (text, host, mailbox, message_id); how many values held an identity
        number. Columns without a candidate are returned as they are, at the cost of one pass."""
        if values.dtype != pl.String:
            raise TypeError(f"a text column is needed, not {values.dtype}")
        function: Callable[[str], str | None] = getattr(self, kind)
        suspects = values.str.contains(identity.CANDIDATE)
        if kind in ("mailbox", "message_id"):
            work = values.drop_nulls().unique(maintain_order=True)
        else:
            mask = suspects | values.str.contains("@|%40") if kind == "text" else suspects
            work = values.filter(mask).unique(maintain_order=True)
        if work.is_empty():
            return values, 0
        old = work.to_list()
        new = pl.Series([function(value) for value in old], dtype=pl.String)
        hit = {value for value in values.filter(suspects).unique().to_list() if identity.find(value)}
        removed = int(values.is_in(list(hit)).sum()) if hit else 0
        table = pl.DataFrame({"old": work, "new": new})
        frame = pl.DataFrame({"old": values}).join(table, on="old", how="left", maintain_order="left")
        known = pl.Series(values.is_in(work.implode())).fill_null(False)
        result = frame.select(
            pl.when(known).then(pl.col("new")).otherwise(pl.col("old")).alias(values.name)
        ).to_series()
        return result, removed
