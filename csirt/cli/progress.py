"""Progress of long work: one line on stderr, rewritten each second, only where stderr is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

from csirt.cli.common import Settings

EVERY = 1.0  # seconds
ERASE = "\r\x1b[K"


@contextlib.contextmanager
def progress(settings: Settings, key: str, numbers: Callable[[], dict[str, int]]) -> Iterator[None]:
    """While the block runs, say the sentence `key` with what `numbers` gives. It is called from another thread."""
    if not sys.stderr.isatty():
        yield
        return
    from csirt.messages import text
    from csirt.safety import terminal

    stop, lang = threading.Event(), settings.language()

    def show() -> None:
        while not stop.wait(EVERY):
            said = terminal(text(key, lang, **{name: f"{number:,}" for name, number in numbers().items()}))
            sys.stderr.write(f"{ERASE}{said[:78]}")
            sys.stderr.flush()
        sys.stderr.write(ERASE)
        sys.stderr.flush()

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
