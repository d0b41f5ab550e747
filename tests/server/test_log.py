"""The log's formatter and handler: the lines of the standard ones."""

from __future__ import annotations

import io
import logging
import sys
from types import TracebackType

import pytest

from greenchat.server.log import LineFormatter, LineHandler

STANDARD = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def record(
    created: float, message: str = "hello", *args: object, error: ExcInfo | None = None
) -> logging.LogRecord:
    """Return a record of an instant in Unix seconds."""
    made = logging.LogRecord("greenchat.accounts", logging.INFO, "", 0, message, args, error)
    made.created = created
    made.msecs = int(created % 1 * 1000) + 0.0
    return made


def raised() -> ExcInfo:
    """Return an exception with its traceback."""
    try:
        raise ValueError("bad")
    except ValueError as error:
        return type(error), error, error.__traceback__


@pytest.mark.parametrize(
    "made",
    [
        record(1_700_000_000.0),
        record(1_700_000_000.999, "%s has %d", "user", 3),
        record(1_700_000_000.05, "100 %"),
        record(1_700_000_000.05, "%(a)s", {"a": 1}),
        record(1_700_000_000.05, error=raised()),
    ],
)
def test_a_line_is_that_of_the_standard_formatter(made: logging.LogRecord) -> None:
    assert LineFormatter().format(made) == STANDARD.format(made)


def test_each_line_shows_its_own_second() -> None:
    """Also where the clock goes back."""
    formatter = LineFormatter()
    for created in (1_700_000_000.9, 1_700_000_001.1, 1_700_000_001.2, 1_700_000_000.3, 1_710_000_000.0):
        assert formatter.format(record(created)) == STANDARD.format(record(created))


def test_the_stack_of_a_record_is_shown() -> None:
    made = record(1_700_000_000.0)
    made.stack_info = "Stack (most recent call last)"
    assert LineFormatter().format(made) == STANDARD.format(made)


def test_a_record_is_one_write() -> None:
    writes: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    LineHandler(Stream()).handle(record(1_700_000_000.0))
    assert writes == [STANDARD.format(record(1_700_000_000.0)) + "\n"]


def test_a_message_that_does_not_fit_its_arguments_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    LineHandler(io.StringIO()).handle(record(1_700_000_000.0, "%d", "no number"))
    assert "no number" in capsys.readouterr().err


def test_without_standard_error_lines_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    LineHandler(sys.stderr).handle(record(1_700_000_000.0))
