"""The log's formatter and handler: the lines of the standard ones."""

from __future__ import annotations

import io
import logging
import sys
import time
from types import TracebackType

import pytest

from greenchat.server.log import LineFormatter, LineHandler, LineRecord

STANDARD = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")

NAME = "greenchat.accounts"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def record(
    created: float, message: str = "hello", *args: object, error: ExcInfo | None = None
) -> logging.LogRecord:
    """Return a record of an instant in Unix seconds."""
    return at(created, logging.LogRecord(NAME, logging.INFO, "", 0, message, args, error))


def at(created: float, made: logging.LogRecord) -> logging.LogRecord:
    """Return a record with another instant."""
    made.created = created
    made.msecs = created % 1 * 1000
    return made


def raised() -> ExcInfo:
    """Return an exception with its traceback."""
    try:
        raise ValueError("bad")
    except ValueError as error:
        return type(error), error, error.__traceback__


MESSAGES = [
    ("hello", (), None),
    ("%s has %d", ("user", 3), None),
    ("100 %", (), None),
    ("%(a)s", ({"a": 1},), None),
    ("%s", ({},), None),
    ("it failed", (), raised()),
]


@pytest.mark.parametrize(("message", "args", "error"), MESSAGES)
@pytest.mark.parametrize("made_by", [logging.LogRecord, LineRecord])
def test_a_line_is_that_of_the_standard_record_and_formatter(
    made_by: type[logging.LogRecord], message: str, args: tuple[object, ...], error: ExcInfo | None
) -> None:
    created = 1_700_000_000.05
    made = at(created, made_by(NAME, logging.WARNING, "", 0, message, args, error))
    standard = at(created, logging.LogRecord(NAME, logging.WARNING, "", 0, message, args, error))
    assert LineFormatter().format(made) == STANDARD.format(standard)


def test_a_record_has_the_instant_at_which_it_was_made() -> None:
    before = time.time()
    made = LineRecord(NAME, logging.INFO, "", 0, "hello", (), None)
    assert before <= made.created <= time.time()
    assert made.msecs == pytest.approx(made.created % 1 * 1000)


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
