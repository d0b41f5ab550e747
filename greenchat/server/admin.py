"""Pages for operators: ``/metrics`` for Prometheus and ``/health`` for probes.

For loopback or a private network only: gevent says of its pywsgi that it should not face the open one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

from gevent.pywsgi import WSGIServer
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from greenchat.errors import ConfigError, StartupError
from greenchat.metrics import COUNTERS


class AdminPages:
    """Serve the pages, if an address is given.

    Args:
        address: ``HOST:PORT``, or empty for no pages.
        trouble: returns the reason why the server cannot do all of its work, empty if it can; may switch.

    Raises:
        ConfigError: the address cannot be read; the operator's fault.
    """

    def __init__(self, address: str, trouble: Callable[[], str]) -> None:
        self._address = _parse(address) if address else None
        self._trouble = trouble
        registry = CollectorRegistry()
        registry.register(_Counters())
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._metrics = make_wsgi_app(registry)

    def start(self) -> None:
        """Listen.

        Raises:
            StartupError: the port cannot be had.
        """
        if self._address is None:
            return
        try:
            WSGIServer(self._address, self._answer, log=None).start()
        except OSError as error:
            raise StartupError(f"admin: cannot listen on {self._address}: {error.strerror}") from None

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return self._metrics(environ, start_response)
        if environ["PATH_INFO"] == "/health":
            trouble = self._trouble()
            return _plain(start_response, "503 Service Unavailable" if trouble else "200 OK", trouble)
        return _plain(start_response, "404 Not Found")


class _Counters(Collector):
    """What greenchat.metrics counts, in Prometheus' form."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        for field in fields(COUNTERS):
            name = f"greenchat_{field.name}"
            yield CounterMetricFamily(name, field.name.replace("_", " "), value=getattr(COUNTERS, field.name))


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"admin: HOST:PORT is needed, not {address!r}")
    return host.strip("[]"), int(port)


def _plain(start_response: Any, status: str, trouble: str = "") -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{status}: {trouble}\n".encode() if trouble else status.encode() + b"\n"]
