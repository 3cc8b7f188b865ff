"""The pipeline's threads (decision 11): each works on feeds of its own, as what must see bytes in order belongs to one
source, and waits with what it made until the coordinator has committed it. So at most one step of a thread is in
flight, and a slow store slows the reading down."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from csirt.clock import Clock
from csirt.errors import Conflict, Unreachable
from csirt.feed import Feed, HandOver
from csirt.ingest import Ingest
from csirt.metrics import Metrics, RateLimited

LOG = logging.getLogger("csirt.pipeline")
PAUSE = 0.2  # seconds between two looks that found nothing
RETRY = 1.0
WAIT = 0.25

Take = Callable[[HandOver], None]


class Stopped(Exception):
    """The pipeline ends: what was handed over is not committed, and is read again."""


@dataclass(slots=True)
class _Handed:
    step: HandOver
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class Workers:
    """`count` threads. The coordinator's thread calls everything but `hand_over`."""

    def __init__(self, clock: Clock, metrics: Metrics, count: int) -> None:
        self._clock, self._metrics, self._count = clock, metrics, count
        self._shares: list[list[Feed]] = [[] for _ in range(count)]
        self._known = 0
        self._threads: list[threading.Thread] = []
        self._handed: queue.SimpleQueue[_Handed] = queue.SimpleQueue()
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._failing: dict[str, Exception] = {}  # by feed: why its last look failed
        self._progress: dict[int, float] = {}  # by thread: when it last did something that counts
        self._warn = RateLimited(LOG)

    def start(self, feeds: list[Feed], ingest: Ingest) -> None:
        """Give every feed that is new to one thread, for good; start the threads at the first call."""
        self._share(feeds)
        if not self._threads:
            self._begin(lambda share: self._live(share, ingest))

    def collect(self, take: Take) -> int:
        """Commit what is ready, one step of every thread at most; how many. Raises what a thread met and did not
        overcome."""
        self._arrived.clear()
        moved = 0
        while moved < self._count and self._commit_next(take, 0.0):
            moved += 1
        for error in list(self._failing.values()):
            raise error
        return moved

    def drain(self, feeds: list[Feed], ingest: Ingest, take: Take) -> None:
        """Everything of every feed, each to its end. Raises the first error of any thread; then nothing goes on."""
        self._share(feeds)
        errors: list[BaseException] = []

        def work(share: list[Feed]) -> None:
            try:
                for feed in share:
                    self._drain(feed, ingest)
            except Stopped:
                pass
            except BaseException as error:  # of whatever kind: it is the coordinator's to raise
                errors.append(error)

        self._begin(work)
        try:
            while any(thread.is_alive() for thread in self._threads) and not errors:
                self._commit_next(take, 0.05)
        finally:
            self.stop()
        for error in errors:
            raise error

    def hand_over(self, step: HandOver) -> None:
        """Called by a worker: returns when the step is committed. Raises what kept it from being so, or Stopped."""
        handed = _Handed(step)
        self._handed.put(handed)
        self._arrived.set()
        while not handed.done.wait(WAIT):
            if self._stop.is_set():
                raise Stopped
            self._works()
        self._works()
        if handed.error is not None:
            raise handed.error

    def wait(self, seconds: float) -> None:
        """Until something is ready, for so long at most."""
        self._arrived.wait(seconds)

    def worked(self) -> float:
        """When the thread that hangs longest last made progress."""
        return min(self._progress.values(), default=self._clock.monotonic())

    def stop(self) -> None:
        """End the threads; only the coordinator calls it, so no step is being committed meanwhile."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _share(self, feeds: list[Feed]) -> None:
        for number in range(self._known, len(feeds)):
            self._shares[number % self._count].append(feeds[number])
        self._known = len(feeds)

    def _begin(self, work: Callable[[list[Feed]], None]) -> None:
        self._stop.clear()
        self._handed, self._progress = queue.SimpleQueue(), {}
        for number, share in enumerate(self._shares):
            thread = threading.Thread(target=work, args=(share,), name=f"worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _live(self, share: list[Feed], ingest: Ingest) -> None:
        while not self._stop.is_set():
            self._works()
            moved = sum(self._look(feed, ingest) for feed in list(share))
            if not moved:
                self._stop.wait(PAUSE)

    def _look(self, feed: Feed, ingest: Ingest) -> int:
        try:
            moved = ingest.look(feed)
        except Stopped:
            return 0
        except Conflict as error:
            self._refused(error)
            return 1
        except Exception as error:
            # Nothing was committed, so nothing is lost. Only a store out of reach is no reason to restart us.
            self._failing[feed.key] = error
            if isinstance(error, Unreachable):
                self._works()
            self._stop.wait(RETRY)
            return 0
        self._failing.pop(feed.key, None)
        self._works()
        return moved

    def _drain(self, feed: Feed, ingest: Ingest) -> None:
        while True:
            try:
                ingest.drain(feed, self._ended)
                return
            except Conflict as error:
                self._refused(error)

    def _ended(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _refused(self, error: Conflict) -> None:
        """The feed was taken back to what is committed, and goes on from there."""
        self._metrics.count("csirt_hand_overs_refused_total")
        self._warn.warning("refused", error.message)

    def _commit_next(self, take: Take, seconds: float) -> bool:
        """Commit the next step, should one come in that time."""
        try:
            handed = self._handed.get(timeout=seconds) if seconds else self._handed.get_nowait()
        except queue.Empty:
            return False
        try:
            take(handed.step)
        except BaseException as error:
            handed.error = error
            if not isinstance(error, Conflict):
                raise
        finally:
            handed.done.set()
        return True

    def _works(self) -> None:
        self._progress[threading.get_ident()] = self._clock.monotonic()
