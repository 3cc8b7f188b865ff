"""`run --once` and `replay` are the same pipeline."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.corpus import Inputs, make
from tests.crash.test_kill import csirt, dump, replay


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Inputs of every kind."""
    return make(tmp_path_factory.mktemp("once"), flows=20_000)


def configured(inputs: Inputs, folder: Path) -> Path:
    """The same configuration with the inputs as sources, named as a replay names them."""
    folder.mkdir(parents=True, exist_ok=True)
    spool = folder / "netflow"
    spool.mkdir(exist_ok=True)
    netflow = [path for path in inputs.files if path.suffix in (".pcap", ".pcapng") and path.name != "gp-office.pcap"]
    for number, path in enumerate(netflow):
        (spool / f"{number}{path.suffix}").symlink_to(path)
    sources = [("netflow", "netflow", spool, ""), ("capture", "capture", inputs.folder / "gp-office.pcap", "")]
    sources += [("log-postfix", "log", inputs.folder / "mail.log", "postfix")]
    sources += [("log-msh", "log", inputs.folder / "msh.ndjson", "msh")]
    text = inputs.config.read_text()
    for id, kind, path, parser in sources:
        text += f'[[sources]]\nid = "{id}"\ntype = "{kind}"\npath = "{path}"\nsettle = "0s"\n'
        text += f'parser = "{parser}"\n' if parser else ""
    config = folder / "once.toml"
    config.write_text(text)
    return config


def test_draining_the_configured_sources_gives_the_replays_store(inputs: Inputs, tmp_path: Path) -> None:
    """The same bytes through the daemon's own sources, killed three times on the way, end in the same store."""
    replay(inputs, tmp_path / "replayed")
    config = configured(inputs, tmp_path / "once")
    store = tmp_path / "drained"
    words = csirt("run", "--once", "--config", str(config), "--store", str(store))
    rng = random.Random(3)
    for _ in range(3):
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.uniform(0.8, 3.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert dump(inputs, store) == dump(inputs, tmp_path / "replayed")


def test_nothing_is_told_twice_by_draining_again(inputs: Inputs, tmp_path: Path) -> None:
    """A second drain of the same inputs changes nothing."""
    config = configured(inputs, tmp_path / "once")
    store = tmp_path / "store"
    for _ in range(2):
        words = [sys.executable, "-m", "csirt", "run", "--once", "--config", str(config), "--store", str(store)]
        assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    again = dump(inputs, store)
    subprocess.run(words, capture_output=True, check=True)
    assert dump(inputs, store) == again
