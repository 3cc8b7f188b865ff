"""What a person sees of one packet: tshark's dissection, read by pyshark.

For looking at one event, never for bulk: every call starts tshark. pyshark's own capture classes need an event loop
that owns the main thread's child processes, so only its reader of tshark's PDML is used.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from csirt.errors import NotFound, Unreachable
from csirt.model.tshark import environment

TIMEOUT = 60.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def dissection_text(path: Path, frame: int, *, tshark: str = "tshark") -> str:
    """The dissection of frame number `frame` (from 0) of a capture file: a line per layer, and per field below it.

    The text comes from the network: the caller escapes it (`safety.terminal`, line by line) before it is printed.
    Raises NotFound when the file or the frame does not exist, Unreachable when tshark is missing or too slow.
    """
    if not path.is_file():
        raise NotFound(f"{path}: the capture is gone; its rows are kept longer than its packets")
    number = frame + 1
    command = [tshark, "-n", "-r", str(path), "-c", str(number), "-Y", f"frame.number == {number}", "-T", "pdml"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            env=environment(dict(os.environ)),
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
        )
    except FileNotFoundError as error:
        raise Unreachable("tshark is not installed; `apt install tshark` provides it") from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"tshark did not get to frame {frame} of {path} within {TIMEOUT:.0f} s") from error
    start, end = done.stdout.find(b"<packet>"), done.stdout.rfind(b"</packet>")
    if start < 0 or end < 0:
        raise NotFound(f"{path}: has no frame {frame} that tshark can read (exit {done.returncode})")
    from pyshark.tshark.output_parser.tshark_xml import packet_from_xml_packet

    return _text(packet_from_xml_packet(done.stdout[start : end + len(b"</packet>")]))


def _text(packet: Any) -> str:
    """pyshark's own layout, without the colours it uses on terminals."""
    out = io.StringIO()
    for layer in packet.layers:
        layer.pretty_print(writer=out)
    return _COLOUR.sub("", out.getvalue())
