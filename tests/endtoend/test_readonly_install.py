"""The daemon runs from an install it cannot write, without a HOME it can write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus import make
from tests.live import daemon, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A wheel of this checkout, unpacked, every folder and file without write permission."""
    wheel = tmp_path / "wheel"
    build = [sys.executable, "-m", "uv", "build", "--wheel", "-q", "-o", str(wheel), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import zipfile

    place = tmp_path / "install"
    with zipfile.ZipFile(next(wheel.glob("*.whl"))) as archive:
        archive.extractall(place)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return place


def compiled(cache: Path) -> int:
    """How many files the compiler keeps."""
    return sum(1 for _ in cache.rglob("*.nb?"))


@pytest.mark.timeout(900)
def test_the_daemon_works_from_a_read_only_install_without_home(sealed: Path, tmp_path: Path) -> None:
    """Content is found in the package, compiled kernels go to the cache folder, nothing is written to the install."""
    inputs = make(tmp_path / "inputs", flows=3_000)
    cache = tmp_path / "cache"
    cache.mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")},
        "HOME": "/nonexistent",
        "PYTHONPATH": str(sealed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": str(cache),
    }
    where = subprocess.run(
        [sys.executable, "-c", "import csirt; print(csirt.__file__)"],
        env=environment, capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert where.stdout.startswith(str(sealed))
    before = sorted(str(path) for path in sealed.rglob("*"))
    segment = next(path for path in inputs.files if path.name.startswith("edge"))
    inputs.config.write_text(
        inputs.config.read_text() + f'[[sources]]\nid = "edge"\ntype = "netflow"\npath = "{segment}"\n'
    )
    socket = inputs.folder / "csirt.sock"
    log = tmp_path / "daemon.log"
    with daemon(inputs.config, socket, log=log, environment=environment) as client:

        def stored() -> bool:
            return bool(client.call("status.show")["events"].get("flow", 0) > 1_000)

        # Compiling takes as long as the machine is busy: it fails when nothing is compiled any more and nothing stored.
        while not stored():
            before_that = compiled(cache)
            until(lambda n=before_that: stored() or compiled(cache) > n, 90, lambda: log.read_text()[-2_000:])  # type: ignore[misc]
    assert compiled(cache)
    assert sorted(str(path) for path in sealed.rglob("*")) == before


def test_units_are_hardened_and_valid() -> None:
    """`systemd-analyze security` at most 1.5 for the daemon and 2.0 for collectors; `verify` has nothing to say."""
    import shutil

    analyze = shutil.which("systemd-analyze", path="/usr/bin:/bin")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in sorted((ROOT / "systemd").glob("*.service")):
        limit = "15" if unit.name == "csirt.service" else "20"
        words = [analyze, "security", "--offline=true", f"--threshold={limit}", "--no-pager", str(unit)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_unit_files_verify(tmp_path: Path) -> None:
    """Nothing in a unit is misspelt; the command they start is stood in for, since it is not installed here."""
    import shutil

    analyze = shutil.which("systemd-analyze", path="/usr/bin:/bin")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    stand_in = tmp_path / "csirt"
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    units = []
    for unit in sorted((ROOT / "systemd").glob("*.*")):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/usr/bin/csirt", str(stand_in)))
        units.append(str(copy))
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if any(Path(unit).name in line for unit in units)]
    assert not ours, ours
