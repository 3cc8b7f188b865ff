"""rsigma-eval as a peer: a small program around the crate, built once into the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from csirt.errors import CsirtError

HOW = "rsigma is not here: it is built when Rust 1.95 or newer is (https://rustup.rs)"
_SOURCES = ("Cargo.toml", "Cargo.lock", "src/main.rs")
_NAME = "csirt-bench-rsigma"


def program() -> tuple[Path, str] | None:
    """The built harness and the crate's version; None where there is no Rust. Raises CsirtError when it does not
    build."""
    root = files("csirt.bench").joinpath("peers/rsigma")
    sources = {name: root.joinpath(*name.split("/")).read_bytes() for name in _SOURCES}
    found = re.search(rb'rsigma-eval = \{ version = "=([\d.]+)"', sources["Cargo.toml"])
    version = found[1].decode() if found else ""
    mark = hashlib.sha256(b"\0".join(sources.values())).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "csirt" / "bench" / f"rsigma-{mark}"
    target = folder / _NAME
    if target.is_file():
        return target, version
    cargo = shutil.which("cargo")
    if cargo is None:
        return None
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    # The crate asks for a newer Rust than it needs.
    words = [cargo, "build", "--release", "--locked", "--ignore-rust-version", "--target-dir", "target"]
    done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
    if done.returncode:
        raise CsirtError("rsigma's harness could not be built: " + done.stderr.decode("utf-8", "replace")[-500:])
    (folder / "target" / "release" / _NAME).rename(target)
    shutil.rmtree(folder / "target", ignore_errors=True)
    return target, version
