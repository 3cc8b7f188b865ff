"""A real Elasticsearch server for tests: official jars laid out once per machine, started on loopback, stopped by pid.

Processes that test side by side share one server: the first starts it, the last one stops it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "home"
VERSION = os.environ.get("CSIRT_TEST_ELASTIC", "8.19.21")  # `make test-elastic9` asks for another
MAJOR = int(VERSION.partition(".")[0])
LEAST_JAVA = 17 if MAJOR == 8 else 21
# Quick to start and small, rather than quick in the long run.
QUICK = "-XX:-UseG1GC -XX:+UseSerialGC -XX:TieredStopAtLevel=1"


def missing() -> str:
    """What the machine lacks for a server; empty when nothing."""
    if shutil.which("mvn") is None:
        return "maven is not installed"
    if _java_home() is None:
        return f"no JDK {LEAST_JAVA} is installed"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "setpriv is not installed, and the server does not run as root"
    return ""


def _java_home() -> Path | None:
    """A JDK of exactly the version the server is built for, else the newest that is new enough."""
    homes = {_feature(found): found for found in Path("/usr/lib/jvm").glob("*") if (found / "bin" / "javac").exists()}
    javac = shutil.which("javac")
    if javac is not None:
        home = Path(javac).resolve().parents[1]
        homes.setdefault(_feature(home), home)
    return homes.get(LEAST_JAVA) or next((homes[one] for one in sorted(homes, reverse=True) if one >= LEAST_JAVA), None)


def _feature(home: Path) -> int:
    """The version of a JDK."""
    said = subprocess.run([home / "bin" / "javac", "-version"], capture_output=True, text=True, check=False)
    number = (said.stdout or said.stderr).removeprefix("javac ").partition(".")[0].strip()
    return int(number) if number.isdigit() else 0


def _environment() -> dict[str, str]:
    return {**os.environ, "ES_JAVA_HOME": str(_java_home()), "ES_HEAP": "512m", "ES_JVM_OPTIONS": QUICK}


def assemble(version: str = VERSION) -> Path:
    """The server's home, made on first use; kept outside the repository."""
    home = _cache() / f"{version}-{_recipe()}"  # of its own recipe: checkouts side by side share and do not spoil it
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [str(HERE / "assemble.sh"), str(home), version]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def _recipe() -> str:
    """What the server is laid out from, as a short name."""
    files = sorted(path for path in HERE.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def _cache() -> Path:
    """As root the server runs as another user, who could not enter root's own cache."""
    if "CSIRT_TEST_CACHE" in os.environ:
        return Path(os.environ["CSIRT_TEST_CACHE"])
    if os.getuid() == 0:
        return Path("/var/cache/csirt-tests/elasticsearch")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csirt-tests/elasticsearch"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """One node in a folder of its own; it can be stopped and started again with its data, and frozen."""

    def __init__(self, home: Path, folder: Path, *settings: str, environment: dict[str, str] | None = None) -> None:
        self.home, self.folder, self.settings = home, folder, settings
        self._environment = {**_environment(), **(environment or {})}
        self.port, self.transport = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, answers: Callable[[], bool] | None = None) -> None:
        """Start, and wait until it answers."""
        answers = answers or self.answers
        command = [str(HERE / "start.sh"), str(self.home), str(self.port), str(self.folder)]
        # Blocks that tests set stay: a server takes them away when it sees, every so often, that its disk has room.
        command += [f"transport.port={self.transport}", "cluster.info.update.interval=1h", *self.settings]
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,  # it outlives the worker that started it; stopped by pid
            )
        deadline = time.monotonic() + 120
        while not answers():
            assert self.process.poll() is None, f"the server ended: {self.said()}"
            assert time.monotonic() < deadline, f"the server does not answer: {self.said()}"
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether it does its work."""
        try:
            path = "/_cluster/health?wait_for_status=yellow&timeout=1s"
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def said(self) -> str:
        """The end of what it wrote."""
        logs = [self.folder / "output", self.folder / "logs" / "server.log"]
        return "\n".join(path.read_text(errors="replace")[-2_000:] for path in logs if path.exists())

    def stop(self) -> None:
        """Stop it by its pid, and wait until it has ended."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def require() -> None:
    """Skip where the machine lacks something; CI must have it."""
    lack = missing()
    if lack and "CI" in os.environ:
        pytest.fail(f"CI must have it: {lack}")
    if lack:
        pytest.skip(lack)


@contextlib.contextmanager
def made(*settings: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A server of one's own with its folder, not started yet; gone at the end."""
    folder = quick_folder()
    one = Server(assemble(), folder, *settings, environment=environment)
    try:
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)


def quick_folder() -> Path:
    """A folder that the server's user may enter; in memory where there is room, for the server syncs a lot."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="csirt-elastic-", dir=memory if roomy else None))
    folder.chmod(0o755)
    return folder


@contextlib.contextmanager
def shared(place: Path) -> Iterator[str]:
    """The URL of the server that all processes with this `place` share."""
    place.mkdir(parents=True, exist_ok=True)
    home = assemble()
    try:
        yield _joined(place, home)
    finally:
        _left(place)


def _joined(place: Path, home: Path) -> str:
    with _locked(place) as note:
        known = json.loads(note.read_text()) if note.exists() else {}
        if not known:
            folder = quick_folder()
            one = Server(home, folder)
            try:
                one.start()
            except BaseException:
                one.stop()
                raise
            assert one.process is not None
            known = {"url": one.url, "pid": one.process.pid, "folder": str(folder), "users": 0}
        known["users"] += 1
        note.write_text(json.dumps(known))
        return str(known["url"])


def _left(place: Path) -> None:
    with _locked(place) as note:
        known = json.loads(note.read_text()) if note.exists() else {}
        if not known:
            return
        known["users"] -= 1
        if known["users"]:
            note.write_text(json.dumps(known))
            return
        note.unlink()
        _end(int(known["pid"]))
        shutil.rmtree(known["folder"], ignore_errors=True)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[Path]:
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place / "server.json"


def _end(pid: int) -> None:
    """End a server that this or another process started."""
    deadline = time.monotonic() + 30
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        while time.monotonic() < deadline:
            if _reaped(pid):
                return
            time.sleep(0.1)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # another worker's child
        return not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
