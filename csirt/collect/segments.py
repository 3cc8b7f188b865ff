"""Writes spool segments: the receive loop appends, a side thread syncs, seals and measures.

The receive loop never syncs (a sync inside it lost 12 % at 150k datagrams/s). What `<segment>.synced` says is on disk
for certain; what was written after it survives the death of any process, but not of the machine.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from csirt.clock import Clock
from csirt.collect import gathered, room
from csirt.collect.folder import make_folder, next_name, seal_leftovers
from csirt.collect.gathered import Pieces, Vectors
from csirt.collect.stats import Stats
from csirt.errors import CsirtError
from csirt.metrics import RateLimited
from csirt.model import disk
from csirt.model import spool as form

if TYPE_CHECKING:
    from csirt.config import Spool

LOG = logging.getLogger("csirt.collect")
WARN = RateLimited(LOG)
HOUSEKEEPING = 1.0  # seconds between measuring the spool and writing stats
FULL = (errno.ENOSPC, errno.EDQUOT)
ATTEMPTS = 2
LARGE = 128 << 10  # octets of a write from which it is worth a call to ask for their place first


class SpoolFailed(CsirtError):
    """The disk refused a sync or a write: what the spool promises can no longer be promised, so the collector stops."""

    code = "spool_failed"


@dataclass(frozen=True, slots=True)
class Limits:
    """A `config.Spool` in plain units: bytes, microseconds, seconds."""

    segment_size: int
    segment_age: int
    limit: int
    drop_oldest: bool
    sync: float

    @classmethod
    def of(cls, spool: Spool) -> Limits:
        """Raises ValueError for a value that is no size or duration."""
        from csirt.config import duration, size

        return cls(
            max(size(spool.segment_size), 4096),
            duration(spool.segment_age),
            size(spool.limit),
            spool.at_limit == "drop_oldest",
            max(duration(spool.sync), 1000) / 1e6,
        )


@dataclass
class _Segment:
    handle: int
    mark: int
    path: Path  # its sealed name
    opened: int
    length: int
    synced: int = 0
    units: int = 0
    listed: bool = False  # the folder's entry is synced


@dataclass
class SegmentWriter:
    """Appends to the segments of one folder. One thread calls `append` and `tick`; `start` and `close` frame them.

    `header` makes a segment's first bytes from its 16-byte UUID. `each_second` is called by the side thread.
    """

    folder: Path
    kind: str  # form.PCAPNG or form.FRAMES
    header: Callable[[bytes], bytes]
    limits: Limits
    stats: Stats
    clock: Clock
    each_second: Callable[[], None] = lambda: None
    transports: frozenset[int] = frozenset((6, 17))  # by which this writer's messages come
    failed: SpoolFailed | None = None
    ticked: float = 0.0
    _current: _Segment | None = None
    _retired: list[_Segment] = field(default_factory=list)
    _units: dict[str, int] = field(default_factory=dict)
    _measured: int = 0
    _appended: int = 0
    _appended_then: int = 0
    _scarce: bool = False
    _measuring: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Make the folder, seal what a dead writer left, start the side thread. Raises SpoolFailed."""
        try:
            make_folder(self.folder)
            for path in seal_leftovers(self.folder):
                LOG.info("sealed %s, left open by a collector that did not end cleanly", path.name)
            self._recount()
            self._measure()
        except OSError as error:
            raise SpoolFailed(f"{self.folder}: {error.strerror}; check that the collector's user owns it") from error
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"spool-{self.folder.name}", daemon=True)
        self._keeper.start()

    def append(self, buffers: Pieces | Vectors, size: int, units: int) -> bool:
        """Write `size` bytes of whole records (at most 1,024 buffers); False when they were dropped and counted.

        Raises SpoolFailed when the spool can no longer be trusted.
        """
        if self.failed is not None:
            raise self.failed
        if self._scarce:
            self.stats.drop("disk_full", units)
            return False
        if not self._room(size):
            self.stats.drop("spool_full", units)
            return False
        segment = self._current
        try:
            if segment is None:
                segment = self._current = self._open()
            self._write(segment, buffers, size)
        except OSError as error:
            if error.errno not in FULL:
                raise self._fail(f"writing to {self.folder}", error) from error
            self.stats.drop("disk_full", units)
            return False
        segment.length += size
        segment.units += units
        self._appended += size
        self.stats.spooled += units
        if segment.length >= self.limits.segment_size:
            self._rotate()
        return True

    def tick(self) -> None:
        """Rotate by age; call it at least every second. `ticked` shows that the receive loop still turns."""
        self.ticked = self.clock.monotonic()
        segment = self._current
        if segment is not None and segment.units and self.clock.now() - segment.opened >= self.limits.segment_age:
            self._rotate()

    def close(self) -> None:
        """Sync and seal everything, stop the side thread. Raises SpoolFailed when the disk refuses."""
        self._rotate()
        self._stop.set()
        self._keeper.join()
        if self.failed is not None:
            raise self.failed

    def _recount(self) -> None:
        """The counters are written each second; what a kill took from them is in the segments begun since."""
        name, spooled = self.stats.opened or ("", 0)
        written = room.sealed(self.folder)
        spooled += sum(room.count_records(path, self.transports) for path in written if path.name >= name)
        stats = self.stats
        stats.spooled = max(stats.spooled, spooled)
        left = stats.spooled + sum(stats.spool_dropped.values())
        if stats.received > left:  # taken from the kernel, and not written when the process was killed
            stats.drop("killed", stats.received - left)
        stats.received = max(stats.received, left)
        # No name that is there is greater; the next one will be.
        stats.opened = [f"{written[-1].name}~" if written else "", stats.spooled]

    def _open(self) -> _Segment:
        """Create a segment under a name no reader looks at, lock it, then give it its name: nobody sees half a header
        or takes a living segment for a dead writer's."""
        identity = uuid.uuid4()
        now = self.clock.now()
        path = self.folder / next_name(self.folder, now, identity.hex, self.kind)
        hidden = path.with_name(f".{path.name}.new")
        header = self.header(identity.bytes)
        handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pwrite(handle, header, 0) != len(header):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            marker = form.beside(path, form.SYNCED)
            mark = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            hidden.rename(path.with_name(path.name + form.OPEN))
        except OSError:
            os.close(handle)
            hidden.unlink(missing_ok=True)
            raise
        self.stats.segments += 1
        self.stats.opened = [path.name, self.stats.spooled]
        self._appended += len(header)
        return _Segment(handle, mark, path, now, len(header))

    def _write(self, segment: _Segment, buffers: Pieces | Vectors, size: int) -> None:
        """At an explicit offset, so that a short write is simply made again; cut back to whole records on failure."""
        if size >= LARGE:
            disk.reserve(segment.handle, segment.length, size)
        try:
            for _ in range(ATTEMPTS):
                if gathered.write(segment.handle, buffers, segment.length) == size:
                    return
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(segment.handle, segment.length)
            raise

    def _room(self, size: int) -> bool:
        used = self._measured + self._appended - self._appended_then
        if used + size <= self.limits.limit:
            return True
        if not self.limits.drop_oldest:
            return False
        if self._current is not None and self._current.length >= self.limits.limit // 4:
            self._rotate()  # so that even the newest segment can be deleted one day
        freed = 0
        with self._measuring:
            for path in room.sealed(self.folder):
                if used + size - freed <= self.limits.limit:
                    break
                freed += self._delete_oldest(path)
            self._measured -= freed
        return used + size - freed <= self.limits.limit

    def _delete_oldest(self, path: Path) -> int:
        """Delete a sealed segment; its units are lost unless the analysis has committed them. Bytes freed."""
        committed = form.read_mark(form.beside(path, form.COMMITTED)) is not None
        lost = 0 if committed else self._units.pop(path.name, 0) or room.count_records(path)
        try:
            freed = path.stat().st_size
            path.unlink()
        except OSError:
            return 0
        form.beside(path, form.COMMITTED).unlink(missing_ok=True)
        if lost:
            self.stats.drop("oldest", lost)
            self.stats.spooled -= lost
            name, before = self.stats.opened or ("", 0)
            self.stats.opened = [name, before - lost]
        LOG.warning("spool full: deleted %s, %d units that were not committed", path.name, lost)
        return freed

    def _rotate(self) -> None:
        if self._current is not None:
            self._retired.append(self._current)
            self._current = None

    def _fail(self, doing: str, error: OSError) -> SpoolFailed:
        if self.failed is None:
            self.failed = SpoolFailed(
                f"{doing}: {os.strerror(error.errno or 0)}; the collector stops because it can no longer promise that "
                "what it receives is kept; check the disk (dmesg, smartctl), then start it again"
            )
            self.stats.failed = self.failed.message
        return self.failed

    def _keep(self) -> None:
        """The side thread: sync at every interval, seal what was rotated out, measure each second."""
        due = 0.0
        while True:
            last = self._stop.wait(self.limits.sync)
            second = last or self.clock.monotonic() >= due
            try:
                self._sync()
                while self._retired:
                    self._seal(self._retired[0])
                    self._retired.pop(0)
                if second:
                    self._measure()
            except OSError as error:
                self._fail(f"syncing {self.folder}", error)
            if second or self.failed is not None:
                due = self.clock.monotonic() + HOUSEKEEPING
                self._tell()
            if last or self.failed is not None:
                return

    def _tell(self) -> None:
        try:
            self.each_second()
        except OSError as error:  # a full disk: the counters stay in memory and are written when there is room
            WARN.warning(f"stats:{self.folder}", f"{self.folder}: the counters could not be written: {error.strerror}")

    def _sync(self) -> None:
        segment = self._current
        if segment is None or segment.length == segment.synced:
            return
        length = segment.length
        if not segment.listed:
            disk.sync_folder(self.folder)
            segment.listed = True
        os.fdatasync(segment.handle)
        segment.synced = length
        os.pwrite(segment.mark, length.to_bytes(8, "little"), 0)

    def _seal(self, segment: _Segment) -> None:
        name = segment.path.with_name(segment.path.name + form.OPEN)
        if segment.units:
            os.fsync(segment.handle)
            name.rename(segment.path)
            self._units[segment.path.name] = segment.units
            if len(self._units) > 10_000:
                self._units.pop(next(iter(self._units)))
        else:
            name.unlink(missing_ok=True)
        form.beside(segment.path, form.SYNCED).unlink(missing_ok=True)
        disk.sync_folder(self.folder)
        os.close(segment.mark)
        os.close(segment.handle)

    def _measure(self) -> None:
        with self._measuring:
            then = self._appended
            used = room.used(self.folder.parent)
            self._appended_then, self._measured = then, used
        self._scarce = disk.scarce(self.folder)
        self.stats.spool_bytes = used
