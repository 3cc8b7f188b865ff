"""goflow2's decoder as a peer: a small program around its library, built once into the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from csirt.bench import pairs, process
from csirt.errors import CsirtError

HOW = "goflow2 is not here: it is built when Go 1.24 or newer is (Debian: apt-get install golang-go, or https://go.dev)"
_SOURCES = ("go.mod", "go.sum", "main.go")


def program() -> tuple[Path, str] | None:
    """The built harness and goflow2's version; None where there is no Go, or it cannot be built."""
    sources = {name: files("csirt.bench").joinpath("peers/goflow2", name).read_bytes() for name in _SOURCES}
    found = re.search(rb"goflow2/v2 (v[\d.]+)", sources["go.mod"])
    version = found[1].decode() if found else ""
    mark = hashlib.sha256(b"\0".join(sources.values())).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "csirt" / "bench" / f"goflow2-{mark}"
    target = folder / "goflow2-bench"
    if target.is_file():
        return target, version
    go = shutil.which("go")
    if go is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        (folder / name).write_bytes(text)
    building = folder / f"building-{os.getpid()}"
    done = subprocess.run(
        [go, "build", "-trimpath", "-o", str(building), "."], cwd=folder, capture_output=True, check=False
    )
    if done.returncode:
        raise CsirtError("goflow2's harness could not be built: " + done.stderr.decode("utf-8", "replace")[-500:])
    building.rename(target)
    return target, version


def side(harness: tuple[Path, str], mode: str, datagrams: Path, core: int | None) -> pairs.Side:
    """goflow2 over a file of plain datagrams: `decode` to Go structs, or on to its JSON text. One core."""
    target, version = harness
    words = [str(target), mode, str(datagrams), "0"]

    def once() -> pairs.Run:
        environment = dict(os.environ) | process.ONE_THREAD
        spent = process.run(words, environment=environment, core=core)
        said = json.loads(spent.output)
        if not said["records"]:
            raise CsirtError(f"goflow2 decoded nothing of {datagrams}")
        work = {name: said[name] for name in ("records", "octets", "packets")}
        rate = said["records"] / said["cpu_s"]
        more = {"process_cpu_s": spent.cpu_s, "process_wall_s": spent.wall_s}
        return pairs.Run(rate, said["seconds"], said["cpu_s"], work, spent.rss_mib, more)

    return pairs.Side("goflow2", version, words, once)
