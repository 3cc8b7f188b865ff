"""What a store raises beyond the shared classes."""

from __future__ import annotations

from csirt.errors import CsirtError


class FatalStoreError(CsirtError):
    """The store can no longer promise what it commits (a failed sync, a damaged catalogue): the daemon stops.

    After a failed `fsync` the kernel may have thrown the written pages away, so a retry would report data as stored
    that is not. The next start reads what is really on the disk.
    """

    code = "store_failed"
