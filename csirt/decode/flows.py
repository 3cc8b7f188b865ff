"""Datagrams of a flow port: NetFlow, IPFIX and sFlow told apart by how each begins, decoded, and put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csirt.decode.netflow.decoder import Configured, NetflowDecoder
from csirt.decode.netflow.describe import describe as describe_netflow
from csirt.decode.netflow.state import MAGIC as STATE
from csirt.decode.sflow.decoder import SflowDecoder, is_sflow
from csirt.model import address
from csirt.model.batch import Decoded
from csirt.model.chunk import Chunk, Datagrams

MAGIC = b"csirt-sflow/1\n"  # before a state that holds sFlow's too: its length, itself, then NetFlow's


class FlowDecoder:
    """Decodes one source's datagrams in order; pure. See `csirt.decode.base.Decoder` and `NetflowDecoder`."""

    def __init__(
        self,
        source_id: str,
        *,
        exporters: Sequence[Configured] = (),
        accept_unknown: bool = True,
        hold_bytes: int = 8 << 20,
        hold_age_us: int = 30 * 60 * 10**6,
        exporter_expiry_us: int = 7 * 86_400 * 10**6,
        template_expiry_us: int = 0,
        clock_offsets: Mapping[str, int] | None = None,
        key: bytes = b"",
        due: bool = True,
    ) -> None:
        self.source = source_id
        self._netflow = NetflowDecoder(
            source_id,
            exporters=exporters,
            accept_unknown=accept_unknown,
            hold_bytes=hold_bytes,
            hold_age_us=hold_age_us,
            exporter_expiry_us=exporter_expiry_us,
            template_expiry_us=template_expiry_us,
            clock_offsets=clock_offsets,
            key=key,
            due=due,
        )
        configured = {address.from_text(item.address): item for item in exporters}
        self._sflow = SflowDecoder(configured, accept_unknown, exporter_expiry_us)
        self.rejected: list[tuple[str, int, int, str]] = []  # of the last chunk: segment, frame, offset, reason
        self._sflow_state = b""

    def load(self, state: bytes | None) -> None:
        """Resume from a committed state, or start afresh. Raises ValueError for bytes that are no state."""
        sflow, netflow = _split(state or b"")
        self._netflow.load(netflow or None)
        self._sflow.load(sflow)
        self._sflow_state = sflow

    def decode(self, chunk: Chunk) -> Decoded:
        """The rows of one chunk and what became of every datagram in it."""
        data = chunk.data
        if not isinstance(data, Datagrams) or not len(data.offset):
            return self._netflow.decode(chunk)
        mine = is_sflow(data)
        if not mine.any():
            result = self._netflow.decode(chunk)
            self.rejected = self._netflow.rejected
            return self._with_state(result)
        result = self._sflow.decode(chunk, data.take(mine))
        result.held = self._netflow.held
        self.rejected = self._sflow.rejected
        self._sflow_state = result.state or b""
        if not mine.all():
            whole, chunk.data = data, data.take(~mine)
            other = self._netflow.decode(chunk)
            chunk.data = whole
            self.rejected = sorted(self.rejected + self._netflow.rejected)
            result = other.joined(result)
        return self._with_state(result)

    def finish(self) -> Decoded:
        """End of input: what is still held expires, and is counted."""
        result = self._netflow.finish()
        return self._with_state(result) if result.state is not None else result

    @property
    def templates(self) -> int:
        """How many templates are known, over all exporters and domains."""
        return self._netflow.templates

    def _with_state(self, result: Decoded) -> Decoded:
        """Put both states into one; without sFlow it is NetFlow's own."""
        first, second = self._sflow_state, self._netflow.state_later()
        result.state_later((lambda: MAGIC + len(first).to_bytes(8, "big") + first + second()) if first else second)
        return result


def _split(state: bytes) -> tuple[bytes, bytes]:
    """(sFlow's state, NetFlow's) of a committed one."""
    if not state.startswith(MAGIC):
        return b"", state
    at = len(MAGIC) + 8
    end = at + int.from_bytes(state[len(MAGIC) : at], "big")
    if end > len(state):
        raise ValueError("not a state of flow datagrams")
    return state[at:end], state[end:]


def describe(state: bytes | None, address: str) -> list[dict[str, Any]]:
    """What a committed state knows of an exporter's NetFlow and IPFIX (csirt.decode.netflow.describe)."""
    netflow = _split(state or b"")[1]
    return describe_netflow(netflow, address) if netflow.startswith(STATE) else []  # else of another kind of source
