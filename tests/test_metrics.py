"""The metrics: what each kind counts, and that the page of the documents has all of them."""

from __future__ import annotations

import re

import pytest

from greenchat.metrics import METRICS, Counter, Gauge, Histogram, LabelledCounter
from lab import ROOT

PAGE = ROOT / "docs" / "metrics.md"

KINDS = {Counter: "counter", LabelledCounter: "counter", Histogram: "histogram", Gauge: "gauge"}


def test_a_value_is_counted_in_the_bucket_of_the_first_bound_that_is_not_below_it() -> None:
    histogram = Histogram("x_seconds", "x", (1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert list(histogram.buckets()) == [("1.0", 2), ("2.0", 4), ("+Inf", 5)]
    assert histogram.sum == 7.5


def test_an_expected_label_value_is_there_before_its_first_event() -> None:
    counter = LabelledCounter("x_total", "x", "reason", ("slow",))
    counter.values["other"] += 1
    assert counter.values == {"slow": 0, "other": 1}


def test_a_gauge_that_nobody_has_set_has_no_value() -> None:
    assert Gauge("x", "x").read() == {}


def test_every_metric_stands_once() -> None:
    names = [metric.name for metric in METRICS]
    assert sorted(set(names)) == sorted(names)


def test_every_metric_is_documented_as_it_is() -> None:
    table = re.findall(r"^\| `greenchat_(\w+)` \| (\w+) \| (.*) \| (.*) \|$", PAGE.read_text("utf-8"), re.M)
    assert table == [
        (metric.name, KINDS[type(metric)], ", ".join(f"`{label}`" for label in labels(metric)), metric.help)
        for metric in METRICS
    ]


def labels(metric: Counter | LabelledCounter | Histogram | Gauge) -> tuple[str, ...]:
    match metric:
        case LabelledCounter(label=label):
            return (label,)
        case Gauge(labels=several):
            return several
    return ()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_the_kind_and_the_unit(metric: Counter | LabelledCounter | Histogram | Gauge) -> None:
    counts = KINDS[type(metric)] == "counter"
    assert metric.name.endswith("_total") == counts
    if isinstance(metric, Histogram):
        assert metric.name.endswith(("_seconds", "_bytes", "_messages"))
    assert metric.help.endswith(".")
