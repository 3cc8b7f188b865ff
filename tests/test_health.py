"""Health and metrics: on loopback only, and a clear sentence when that cannot be."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from csirt.errors import CsirtError, Usage
from csirt.health import HealthServer
from csirt.metrics import Metrics


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_health_and_metrics_are_served_on_loopback(host: str) -> None:
    """200 with the sentence, 503 while the pipeline waits, the metrics as Prometheus reads them, 404 for the rest."""
    metrics, answer = Metrics(), [(True, "ok")]
    metrics.stage("decode", 3, 2, {"malformed": 1})
    try:
        server = HealthServer(f"{host}:0", metrics, lambda: answer[0])
    except CsirtError:
        if host == "127.0.0.1":
            raise
        pytest.skip("optional: this machine has no IPv6 loopback")
    server.start()
    try:
        base = f"http://{host}:{server.port}"
        with urllib.request.urlopen(f"{base}/healthz", timeout=10) as page:
            assert (page.status, page.read()) == (200, b"ok\n")
        with urllib.request.urlopen(f"{base}/metrics", timeout=10) as page:
            assert b'csirt_stage_in_total{stage="decode"} 3' in page.read()
        answer[0] = (False, "the disk of the store is full")
        for path, code in (("/healthz", 503), ("/etc/passwd", 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(base + path, timeout=10)
            assert refused.value.code == code
    finally:
        server.stop()


def test_what_cannot_be_listened_on_is_said() -> None:
    """An address that is not loopback, no address, a taken port and an impossible one: a sentence each."""
    for listen in ("0.0.0.0:9466", "192.0.2.1:1", "[::]:9466", "nonsense", "127.0.0.1:x"):
        with pytest.raises(Usage, match=r"\[health\] listen"):
            HealthServer(listen, Metrics(), lambda: (True, ""))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 99_999):
            with pytest.raises(CsirtError, match="choose another port"):
                HealthServer(f"127.0.0.1:{port}", Metrics(), lambda: (True, ""))
