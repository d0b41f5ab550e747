"""The fuzzer's targets, over the corpus and a few inputs made from it; ``scripts/fuzz`` goes on from here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenchat.protocol.messages import REQUESTS
from tests.fuzz.conversations import EXAMPLES, FIELDS, any_conversation
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"

FILES = sorted(path for path in CORPUS.glob("*/*"))

TOKENS = [
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b'"',
    b"{}",
    b"[[",
    b"-1",
    b"9223372036854775808",
    b"null",
    b"\\ud800",
]


@st.composite
def mutated(draw: st.DrawFn, target: str) -> bytes:
    """Draw a file of the corpus in which something is cut out, put in, or from another file."""
    seeds = st.sampled_from([path.read_bytes() for path in FILES if path.parent.name == target])
    data = draw(seeds)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        piece = draw(st.binary(max_size=4) | st.sampled_from(TOKENS) | seeds)
        data = data[:place] + piece + data[place + draw(st.integers(0, 8)) :]
    return data


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_must_hold_does_for_the_corpus(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_what_must_hold_does_for_what_is_much_like_the_corpus(target: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(target))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


def test_what_must_hold_does_in_any_conversation() -> None:
    any_conversation()


def test_every_target_has_a_corpus_and_every_file_a_target() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)


def test_conversations_have_values_for_every_field_of_every_request() -> None:
    assert {name for kind in REQUESTS.values() for name in kind.__struct_fields__} == set(FIELDS)
