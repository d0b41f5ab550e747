"""The arithmetic of the benchmark."""

from __future__ import annotations

import pytest

from lab.bench.figures import (
    Reading,
    Row,
    Span,
    of_core,
    of_cost,
    of_cpu,
    ratios,
    with_span,
)
from lab.bench.report import number, table

SPAN = Span(wall=10.0, server=4.0, database=0.0, load=2.0, noise=0.0)


def test_a_span_is_what_went_by_and_noise_is_what_others_had() -> None:
    start = Reading(100.0, 1.0, 2.0, 3.0, 50.0)
    end = Reading(110.0, 5.0, 3.0, 5.0, 60.0)
    assert Span.between(start, end, cores=2) == Span(10.0, 4.0, 1.0, 2.0, 3.0 / 20)


def test_noise_is_never_negative() -> None:
    assert Span.between(Reading(0, 0, 0, 0, 0), Reading(1, 1, 0, 0, 0.9), cores=2).noise == 0


def test_a_rate_is_for_a_second_of_server_cpu() -> None:
    row = of_cpu("w", "messages", 1000, SPAN)
    assert (row.figure, row.unit, row.more["per_second"]) == (250, "messages/CPU-s", 100)
    assert "with_database" not in row.more


def test_a_cost_is_in_milliseconds_of_server_cpu() -> None:
    row = of_cost("l", "login", 1000, SPAN)
    assert (row.figure, row.unit, row.less_is_better) == (4.0, "ms CPU/login", True)


def test_what_goes_on_by_itself_takes_a_share_of_a_core() -> None:
    assert (of_core("i", SPAN).figure, of_core("i", SPAN).unit) == (40, "% of a core")


def test_a_database_of_its_own_is_counted_in_too() -> None:
    span = SPAN._replace(database=1.0)
    assert of_cpu("w", "messages", 1000, span).more["with_database"] == 200
    assert of_cost("l", "login", 1000, span).more["with_database"] == 5.0
    assert of_core("i", span).more["with_database"] == 50


def test_what_took_no_cpu_divides_nothing() -> None:
    assert of_cpu("w", "messages", 1, SPAN._replace(server=0.0)).figure == 0


def test_a_busy_load_is_said_to_be_the_limit() -> None:
    assert of_cpu("w", "messages", 1, SPAN).notes == []
    assert "load generator was the limit" in of_cpu("w", "messages", 1, SPAN._replace(load=9.5)).notes[0]


def test_noise_is_said() -> None:
    quiet, loud = (of_cpu("w", "messages", 1, SPAN._replace(noise=noise)) for noise in (0.04, 0.2))
    assert "20%" in table([loud]).splitlines()[2]
    assert "Other processes" in table([quiet, loud])
    assert "Other processes" not in table([quiet])


def test_what_is_to_be_known_of_several_rows_is_said_once() -> None:
    rows = [Row(name, 1.0, "x", notes=["beware"], faults={"lost": 1}) for name in "ab"]
    assert table(rows).splitlines()[-2:] == ["a, b: 1 lost", "a, b: beware"]


def test_ratios_are_to_rows_of_the_same_name_and_unit() -> None:
    rows = [Row("a", 3.0, "x"), Row("b", 3.0, "x"), Row("c", 3.0, "x"), Row("d", 3.0, "x")]
    earlier = [Row("a", 2.0, "x"), Row("b", 2.0, "y"), Row("d", 0.0, "x")]
    assert ratios(rows, {"rows": [row.as_json() for row in earlier]}) == {"a": 1.5}


def test_the_table_says_what_is_better() -> None:
    rows = [Row("a", 3.0, "x"), Row("b", 3.0, "ms", less_is_better=True)]
    earlier = {"rows": [Row("a", 2.0, "x").as_json(), Row("b", 2.0, "ms").as_json()]}
    assert "× 1.50 better" in table(rows, earlier).splitlines()[2]
    assert "× 1.50 worse" in table(rows, earlier).splitlines()[3]


def test_the_table_shows_faults() -> None:
    row = with_span(Row("w1", 3.0, "x"), SPAN, {"lost": 2})
    lines = table([row]).splitlines()
    assert "(!)" in lines[2]
    assert lines[-1] == "w1: 2 lost"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.00"),
        (0.254, "0.25"),
        (12.34, "12.3"),
        (123.4, "123"),
        (57_321.0, "57,300"),
        (1.2e6, "1,200,000"),
    ],
)
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown
