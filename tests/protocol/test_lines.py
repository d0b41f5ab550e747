"""Bytes to frames: any split, any coalescing, every terminator, the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.protocol.classic.wire import NUL
from greenchat.protocol.lines import NEWLINE, FrameTooLarge
from tests.protocol.ear import Ear

bodies = st.lists(
    st.binary(min_size=1, max_size=40).filter(lambda body: not set(body) & set(b"\r\n\0")), max_size=12
)

CASES = [
    # stream, frames, terminator
    (b'{"a":1}\n', [b'{"a":1}'], NEWLINE),
    (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}'], NEWLINE),
    (b'{"a":1}\0{"b":2}\0', [b'{"a":1}', b'{"b":2}'], NUL),
    (b'\n\r\n\n{"a":1}\0', [b'{"a":1}'], NUL),
    (b'\0\0{"a":1}\n\n\n{"b":2}\n', [b'{"a":1}', b'{"b":2}'], NEWLINE),
    (b'{"a":\n1}\0', [b'{"a":', b"1}\0"], NEWLINE),
    (b'{"a":1}\0{\n"b":2}\0', [b'{"a":1}', b'{\n"b":2}'], NUL),
    (b'{"a":1}\0{"b":2}\r\0', [b'{"a":1}', b'{"b":2}\r'], NUL),
    (b"a\rb\r\n", [b"a\rb"], NEWLINE),
    (b"", [], None),
]


@pytest.mark.parametrize(("stream", "frames", "terminator"), CASES)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_a_stream_gives_the_same_frames_however_it_is_cut(
    stream: bytes, frames: list[bytes], terminator: bytes | None, step: int
) -> None:
    decoder = Ear()
    got = [frame for at in range(0, len(stream), step) for frame in decoder.feed(stream[at : at + step])]
    complete = frames if terminator is None or stream.endswith(terminator) else frames[:-1]
    assert got == complete
    assert decoder.terminator == terminator


@given(bodies, st.sampled_from([b"\n", b"\r\n", b"\0"]), st.data())
def test_frames_survive_any_split(bodies: list[bytes], terminator: bytes, data: st.DataObject) -> None:
    stream = b"".join(body + terminator for body in bodies)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    decoder = Ear()
    got: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[start:end])
    assert got == bodies


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_no_bytes_make_the_decoder_raise_anything_else(chunks: list[bytes]) -> None:
    decoder = Ear(max_frame=64)
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                assert 0 < len(frame) <= 64
    except FrameTooLarge:
        pass


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_frame_of_the_limit_passes_and_one_byte_more_does_not(terminator: bytes, step: int) -> None:
    def feed(body: bytes) -> list[bytes]:
        decoder, stream = Ear(max_frame=20), b"ok" + terminator + body + terminator
        got: list[bytes] = []
        for at in range(0, len(stream), step):
            try:
                got += decoder.feed(stream[at : at + step])
            except FrameTooLarge as error:
                raise FrameTooLarge(20, got + error.frames) from None
        return got

    assert feed(b"x" * 20) == [b"ok", b"x" * 20]
    with pytest.raises(FrameTooLarge) as caught:
        feed(b"x" * 21)
    assert caught.value.frames == [b"ok"]
    assert caught.value.errno == 12


@pytest.mark.parametrize("step", [1, 100])
def test_an_endless_line_is_cut_off_soon(step: int) -> None:
    decoder = Ear(max_frame=1000)
    fed = 0
    with pytest.raises(FrameTooLarge):  # noqa: PT012 - it must raise at some step, not at a certain one
        while True:
            fed += step
            decoder.feed(b"x" * step)
    assert fed <= 1000 + step


def test_ten_thousand_frames_in_one_segment() -> None:
    assert len(Ear().feed(b'{"msgid":12}\n' * 10_000)) == 10_000
