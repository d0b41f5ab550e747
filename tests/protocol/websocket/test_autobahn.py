"""The framing on its own, given the cases of the Autobahn suite (``tests/network`` has a socket)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from greenchat.protocol.websocket.framing import WebSocketFraming
from greenchat.protocol.wire import StreamEnded
from tests.protocol.websocket.autobahn import MIB, Case, case_table, chopped
from tests.websocket import PONG, Frame, frames_in

CASES = case_table()


class Heard:
    """All that a framing has made of some writes.

    Attributes:
        texts: the messages.
        pongs: the payloads of its pongs.
        last: its last frame; None if the connection still stands.
        ended_at: the number of the write at which it ended; -1 if it has not.
    """

    def __init__(self, writes: Sequence[bytes], max_frame: int = MIB) -> None:
        self.texts: list[bytes] = []
        self.last: Frame | None = None
        self.ended_at = -1
        answers: list[bytes] = []
        framing = WebSocketFraming(max_frame)
        framing.answer = answers.append
        for number, data in enumerate(writes):
            try:
                self.texts += framing.feed(data)
            except StreamEnded as ended:
                self.texts += ended.frames
                self.last = frames_in(b"".join(ended.last_words))[-1]
                self.ended_at = number
                break
        frames = frames_in(b"".join(answers))
        assert {frame.opcode for frame in frames} <= {PONG}
        self.pongs = [frame.payload for frame in frames]


def check(case: Case, heard: Heard) -> None:
    assert heard.texts == list(case.texts)
    assert heard.pongs == list(case.pongs)
    assert heard.last is not None
    assert heard.last.code == case.code


@pytest.mark.parametrize("name", CASES)
def test_as_the_suite_writes_it(name: str) -> None:
    case = CASES[name]
    heard = Heard(case.sent)
    check(case, heard)
    if case.fails_at is not None:
        assert heard.ended_at == case.fails_at


@pytest.mark.parametrize("name", CASES)
def test_in_one_piece(name: str) -> None:
    check(CASES[name], Heard([b"".join(CASES[name].sent)]))


SHORT = [name for name, case in CASES.items() if sum(map(len, case.sent)) < 20_000]


@pytest.mark.parametrize("name", [*SHORT, "1.1.8", "10.1.1"])
def test_byte_by_byte(name: str) -> None:
    check(CASES[name], Heard(chopped(b"".join(CASES[name].sent))))


@pytest.mark.parametrize("name", [name for name in CASES if name not in SHORT and name[:4] != "9.3."])
def test_cut_at_a_size_that_fits_nothing(name: str) -> None:
    check(CASES[name], Heard(chopped(b"".join(CASES[name].sent), 997)))


COUNTED = Counter(name.rpartition(".")[0] for name in CASES)
"""The number of cases by section."""


def test_the_table_of_the_documents_has_each_section_with_its_result() -> None:
    """A section has passed if the tests above have."""
    page = (Path(__file__).parents[3] / "docs/websocket.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) \|.*\| (\d+) of (\d+) \|$", page, re.M)
    assert rows == [
        (section, str(number), str(number)) for section, number in sorted(COUNTED.items(), key=_place)
    ]


def _place(row: tuple[str, int]) -> list[int]:
    return [int(part) for part in row[0].split(".")]


def test_all_cases_are_there() -> None:
    """These are the numbers of the suite's own table; of section 9 the cases of up to 1 MiB."""
    assert COUNTED == {
        "1.1": 8, "1.2": 8, "2": 11, "3": 7, "4.1": 5, "4.2": 5, "5": 20,
        "6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5, "6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4,
        "6.10": 3, "6.11": 5, "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1, "6.16": 3, "6.17": 5,
        "6.18": 5, "6.19": 5, "6.20": 7, "6.21": 8, "6.22": 34, "6.23": 7,
        "7.1": 6, "7.3": 6, "7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2,
        "9.1": 3, "9.2": 3, "9.3": 8, "9.4": 8, "9.5": 6, "9.6": 6, "9.7": 6, "9.8": 6, "10.1": 1,
    }  # fmt: skip
