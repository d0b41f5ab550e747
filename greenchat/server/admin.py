"""Pages for operators: ``/metrics`` for Prometheus and ``/health`` for probes.

For loopback or a private network only: gevent says of its pywsgi that it should not face the open one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from errno import EADDRINUSE
from typing import Any

from gevent.pywsgi import WSGIServer
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from greenchat.errors import StartupError
from greenchat.metrics import METRICS, Counter, Histogram, LabelledCounter, Metric
from greenchat.server.ports import parse_address

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""All scrapers read it, whatever they ask for.  prometheus_client's own page chooses a format by the Accept
header, and answers 500 to a quoted version (RFC 9110 allows quotes)."""


class AdminPages:
    """Serve the pages, if an address is given.

    Args:
        address: ``HOST:PORT``, or empty for no pages.  A port ``+N`` is N above the server's own, so that
            servers of one machine can share the setting.
        server_port: the server's own.
        trouble: returns the reason why the server cannot do all of its work, empty if it can; may switch.

    Raises:
        ConfigError: the address cannot be read; the operator's fault.
    """

    def __init__(self, address: str, server_port: int, trouble: Callable[[], str]) -> None:
        self._address = parse_address("admin", address, server_port) if address else None
        self._trouble = trouble
        self._registry = CollectorRegistry()
        self._registry.register(_Metrics())
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

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
            host, port = self._address
            hint = ", HOST:+N is a port of each server's own" if error.errno == EADDRINUSE else ""
            raise StartupError(f"admin: cannot listen on {host}:{port}: {error.strerror}{hint}") from None

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            start_response("200 OK", [("Content-Type", METRICS_TYPE)])
            return [generate_latest(self._registry)]
        if environ["PATH_INFO"] == "/health":
            trouble = self._trouble()
            return _plain(start_response, "503 Service Unavailable" if trouble else "200 OK", trouble)
        return _plain(start_response, "404 Not Found")


class _Metrics(Collector):
    """The metrics of greenchat.metrics, in Prometheus' form."""

    def collect(self) -> Iterator[Family]:
        return map(_family, METRICS)


def _family(metric: Metric) -> Family:
    name = f"greenchat_{metric.name}"
    if isinstance(metric, Counter):
        return CounterMetricFamily(name, metric.help, value=metric.value)
    if isinstance(metric, Histogram):
        return HistogramMetricFamily(name, metric.help, list(metric.buckets()), metric.sum)
    if isinstance(metric, LabelledCounter):
        counter = CounterMetricFamily(name, metric.help, labels=[metric.label])
        for value, count in metric.values.items():
            counter.add_metric([value], count)
        return counter
    gauge = GaugeMetricFamily(name, metric.help, labels=metric.labels)
    for values, number in metric.read().items():
        gauge.add_metric(values, number)
    return gauge


def _plain(start_response: Any, status: str, trouble: str = "") -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{status}: {trouble}\n".encode() if trouble else status.encode() + b"\n"]
