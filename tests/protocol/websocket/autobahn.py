"""The cases of the Autobahn test suite for servers, sections 1 to 7, 9 up to 1 MiB, and 10.

The suite itself starts on Python 2 alone, so its cases are written anew here, as data, with its numbers.  A
case is what the client writes, what an echoing server answers, and how the connection ends.  Where a case
ends in good order, the client closes with 1000 at last, as the suite does.

Binary messages are not taken by this server (docs/protocol.md, Faces): their cases expect the code 1003.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, masked

KIB, MIB = 1_024, 1_048_576

NORMAL = 1000

KOSME = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"  # a Greek word whose second letter takes 3 bytes

HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()


class Case(NamedTuple):
    """A case of the suite.

    Attributes:
        sent: the bytes of each write, whose ends are those of chops or frames.
        texts: the messages that are echoed.
        pongs: the payloads of the pongs.
        code: of the server's close frame; None for one without a code.
        fails_at: number of the write, from 0, at which the server MUST have failed the connection; None
            where that is not asked.
    """

    sent: Sequence[bytes]
    texts: Sequence[bytes] = ()
    pongs: Sequence[bytes] = ()
    code: int | None = NORMAL
    fails_at: int | None = None


def close(code: int | None = NORMAL, reason: bytes = b"") -> bytes:
    return masked(CLOSE, (b"" if code is None else code.to_bytes(2, "big")) + reason)


def fine(sent: Sequence[bytes], texts: Sequence[bytes] = (), pongs: Sequence[bytes] = ()) -> Case:
    """Return a case at whose end the client closes."""
    return Case([*sent, close()], texts, pongs)


def chopped(data: bytes, size: int = 1) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def fragments(parts: Sequence[bytes], opcode: int = TEXT) -> list[bytes]:
    """Return the frames of a message in parts."""
    last = len(parts) - 1
    return [masked(CONTINUATION if at else opcode, part, final=at == last) for at, part in enumerate(parts)]


def cut(sent: Sequence[bytes]) -> list[list[bytes]]:
    """Return the ways in which the suite writes frames: at once, by frame, by byte."""
    return [[b"".join(sent)], list(sent), chopped(b"".join(sent))]


def case_table() -> dict[str, Case]:
    """Return all cases by their number."""
    table: dict[str, Case] = {}
    for section in (
        framing, pings, reserved_bits, opcodes, fragmentation, utf8_in_fragments, utf8_sequences, closing,
        large, many, automatic_fragments,
    ):  # fmt: skip
        table |= dict(section())
    return table


Cases = Iterator[tuple[str, Case]]


def framing() -> Cases:
    sizes = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536]
    for number, size in enumerate(sizes, 1):
        text, binary = b"*" * size, b"\xfe" * size
        pieces = chopped if number == 8 else lambda data, size: [data]
        yield f"1.1.{number}", fine(pieces(masked(TEXT, text), 997), [text])
        yield f"1.2.{number}", Case(pieces(masked(BINARY, binary), 997), code=1003, fails_at=0)


def pings() -> Cases:
    whole = bytes(range(125))
    yield "2.1", fine([masked(PING)], pongs=[b""])
    yield "2.2", fine([masked(PING, b"Hello, world!")], pongs=[b"Hello, world!"])
    yield (
        "2.3",
        fine(
            [masked(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")], pongs=[b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"]
        ),
    )
    yield "2.4", fine([masked(PING, whole)], pongs=[whole])
    yield "2.5", Case([masked(PING, whole + b"*")], code=1002, fails_at=0)
    yield "2.6", fine(chopped(masked(PING, whole)), pongs=[whole])
    yield "2.7", fine([masked(PONG)])
    yield "2.8", fine([masked(PONG, b"unsolicited pong payload")])
    yield "2.9", fine([masked(PONG, b"unsolicited"), masked(PING, b"ping payload")], pongs=[b"ping payload"])
    ten = [b"payload-%d" % number for number in range(10)]
    yield "2.10", fine([masked(PING, each) for each in ten], pongs=ten)
    yield "2.11", fine([byte for each in ten for byte in chopped(masked(PING, each))], pongs=ten)


def reserved_bits() -> Cases:
    hello, ping = b"Hello, world!", masked(PING)
    yield "3.1", Case([masked(TEXT, hello, bits=1)], code=1002, fails_at=0)
    for bits in (2, 3, 4):
        sent = cut([masked(TEXT, hello), masked(TEXT, hello, bits=bits), ping])[bits - 2]
        yield f"3.{bits}", Case(sent, [hello], code=1002)
    yield "3.5", Case([masked(BINARY, b"\x00\xff", bits=5)], code=1002, fails_at=0)
    yield "3.6", Case([masked(PING, hello, bits=6)], code=1002, fails_at=0)
    yield "3.7", Case([masked(CLOSE, b"\x03\xe8", bits=7)], code=1002, fails_at=0)


def opcodes() -> Cases:
    text, ping = masked(TEXT, b"Hello, world!"), masked(PING)
    for part, reserved in ((1, (3, 4, 5, 6, 7)), (2, (11, 12, 13, 14, 15))):
        for number, opcode in enumerate(reserved, 1):
            wrong = masked(opcode, b"" if number in (1, 3) else b"reserved opcode payload")
            if number < 3:
                yield f"4.{part}.{number}", Case([wrong], code=1002, fails_at=0)
            else:
                sent = cut([text, wrong, ping])[number - 3]
                yield f"4.{part}.{number}", Case(sent, [b"Hello, world!"], code=1002)


def fragmentation() -> Cases:
    pair = fragments([b"fragment1", b"fragment2"])
    whole = b"fragment1fragment2"
    for number, opcode in ((1, PING), (2, PONG)):
        sent = [masked(opcode, b"fragment1", final=False), masked(CONTINUATION, b"fragment2")]
        yield f"5.{number}", Case(sent, code=1002, fails_at=0)
    for number, sent in enumerate(cut(pair), 3):
        yield f"5.{number}", fine(sent, [whole])
    for number, sent in enumerate(cut([pair[0], masked(PING, b"ping payload"), pair[1]]), 6):
        yield f"5.{number}", fine(sent, [whole], [b"ping payload"])
    text = masked(TEXT, b"Hello, world!")
    for first, final in ((9, True), (12, False)):
        stray = masked(CONTINUATION, b"non-continuation payload", final=final)
        for number, sent in enumerate(cut([stray, text]), first):
            yield f"5.{number}", Case(sent, code=1002)
    stray = masked(CONTINUATION, b"fragment3", final=False)
    yield "5.15", Case([*pair, stray, masked(TEXT, b"fragment4")], [whole], code=1002, fails_at=2)
    for number, final in ((16, False), (17, True)):
        stray = masked(CONTINUATION, b"fragment1", final=final)
        sent = [stray, masked(TEXT, b"fragment2", final=False), masked(CONTINUATION, b"fragment3")]
        yield f"5.{number}", Case(sent * 2, code=1002, fails_at=0)
    sent = [masked(TEXT, b"fragment1", final=False), masked(TEXT, b"fragment2")]
    yield "5.18", Case(sent, code=1002, fails_at=1)
    five = [b"fragment%d" % number for number in range(1, 6)]
    frames = fragments(five)
    two = [masked(PING, b"pongme 1!"), masked(PING, b"pongme 2!")]
    sent = [*frames[:2], two[0], *frames[2:4], two[1], frames[4]]
    yield (
        "5.19",
        fine([b"".join(sent[:3]), b"".join(sent[3:])], [b"".join(five)], [b"pongme 1!", b"pongme 2!"]),
    )
    yield "5.20", fine(sent, [b"".join(five)], [b"pongme 1!", b"pongme 2!"])


def utf8_in_fragments() -> Cases:
    yield "6.1.1", fine([masked(TEXT)], [b""])
    yield "6.1.2", fine(fragments([b"", b"", b""]), [b""])
    yield "6.1.3", fine(fragments([b"", b"middle frame payload", b""]), [b"middle frame payload"])
    yield "6.2.1", fine([masked(TEXT, HELLO)], [HELLO])
    yield "6.2.2", fine(fragments([HELLO[:12], HELLO[12:]]), [HELLO])
    yield "6.2.3", fine(fragments(chopped(HELLO)), [HELLO])
    yield "6.2.4", fine(fragments(chopped(KOSME)), [KOSME])
    wrong = KOSME + b"\xed\xa0\x80edited"
    yield "6.3.1", Case([masked(TEXT, wrong)], code=1007, fails_at=0)
    yield "6.3.2", Case(fragments(chopped(wrong)), code=1007, fails_at=len(KOSME) + 2)
    yield "6.4.1", Case(fragments([KOSME, b"\xf4\x90\x80\x80", b"edited"]), code=1007, fails_at=1)
    yield "6.4.2", Case(fragments([KOSME + b"\xf4", b"\x90", b"\x80\x80edited"]), code=1007, fails_at=1)
    head = 6  # bytes before the payload
    for number, at in ((3, len(KOSME) + 4), (4, len(KOSME) + 2)):
        frame = masked(TEXT, KOSME + b"\xf4\x90\x80\x80edited")
        sent = [frame[: head + len(KOSME)], frame[head + len(KOSME) : head + at], frame[head + at :]]
        yield f"6.4.{number}", Case(sent, code=1007, fails_at=1)


def utf8_sequences() -> Cases:
    for section, sequences in enumerate(SEQUENCES, 5):
        for number, sequence in enumerate(sequences, 1):
            text = bytes.fromhex(sequence.removeprefix(WRONG))
            sent = [masked(TEXT, text)]
            is_wrong = sequence.startswith(WRONG)
            yield f"6.{section}.{number}", Case(sent, code=1007) if is_wrong else fine(sent, [text])


WRONG = "!"
"""Stands before a sequence that is not UTF-8."""


def _lonely(first: int, last: int) -> str:
    """Return each of some first bytes with a blank behind it."""
    return WRONG + "".join(f"{byte:02x}20" for byte in range(first, last + 1))


SEQUENCES: list[list[str]] = [
    [f"hello{each}world".encode().hex() for each in "$¢€𤭢"] + [KOSME.hex()],
    ["!" * (size not in (2, 5, 7, 9, 11)) + KOSME[:size].hex() for size in range(1, len(KOSME) + 1)],
    ["00", "c280", "e0a080", "f0908080"],
    ["!f888808080", "!fc8480808080"],
    ["7f", "dfbf", "efbfbf", "f48fbfbf"],
    ["!f7bfbfbf", "!fbbfbfbfbf", "!fdbfbfbfbfbf"],
    ["ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "!f4908080"],
    ["!80", "!bf", "!80bf", "!80bf80", "!80bf80bf", "!80bf80bf80", "!80bf80bf80bf",
     WRONG + bytes(range(0x80, 0xC0)).hex()],
    [_lonely(0xC0, 0xDF), _lonely(0xE0, 0xEF), _lonely(0xF0, 0xF7), _lonely(0xF8, 0xFB), _lonely(0xFC, 0xFD)],
    ["!c0", "!e080", "!f08080", "!f8808080", "!fc80808080", "!df", "!efbf", "!f7bfbf", "!fbbfbfbf",
     "!fdbfbfbfbf"],
    ["!c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"],
    ["!fe", "!ff", "!fefeffff"],
    ["!c0af", "!e080af", "!f08080af", "!f8808080af", "!fc80808080af"],
    ["!c1bf", "!e09fbf", "!f08fbfbf", "!f887bfbfbf", "!fc83bfbfbfbf"],
    ["!c080", "!e08080", "!f0808080", "!f880808080", "!fc8080808080"],
    ["!eda080", "!edadbf", "!edae80", "!edafbf", "!edb080", "!edbe80", "!edbfbf"],
    ["!eda080edb080", "!eda080edbfbf", "!edadbfedb080", "!edadbfedbfbf", "!edae80edb080", "!edae80edbfbf",
     "!edafbfedb080", "!edafbfedbfbf"],
    [chr(plane << 16 | low).encode().hex() for plane in range(17) for low in (0xFFFE, 0xFFFF)],
    [chr(code).encode().hex() for code in range(0xFFF9, 0x10000)],
]  # fmt: skip
"""Of each section from 6.5 on: valid ones, prefixes, first and last of a length, valid and not, boundaries,
stray continuations, lonely first bytes, a last byte missing, all of those, impossible bytes, overlong ASCII,
longest overlong, overlong NUL, surrogates, pairs of them, noncharacters, specials."""


def closing() -> Cases:
    text = masked(TEXT, b"Hello World!")
    yield "7.1.1", fine([text], [b"Hello World!"])
    yield "7.1.2", Case([close(), close()])
    yield "7.1.3", Case([close(), masked(PING)])
    yield "7.1.4", Case([close(), text])
    first, last = fragments([b"fragment1", b"fragment2"])
    yield "7.1.5", Case([first, close(), last])
    long = b"BAsd7&jh23" * 26_214
    yield "7.1.6", Case([masked(TEXT, long), close(), masked(PING)], [long])
    yield "7.3.1", Case([close(None)], code=None)
    yield "7.3.2", Case([masked(CLOSE, b"a")], code=1002, fails_at=0)
    yield "7.3.3", Case([close()])
    yield "7.3.4", Case([close(reason=b"Hello World!")])
    yield "7.3.5", Case([close(reason=b"*" * 123)])
    yield "7.3.6", Case([close(reason=b"*" * 124)], code=1002, fails_at=0)
    yield "7.5.1", Case([close(reason=KOSME + b"\xed\xa0\x80edited")], code=1007, fails_at=0)
    valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
    for number, code in enumerate(valid, 1):
        yield f"7.7.{number}", Case([close(code)], code=code)
    invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]
    for number, code in enumerate(invalid, 1):
        yield f"7.9.{number}", Case([close(code)], code=1002, fails_at=0)
    for number, code in enumerate([5000, 65_535], 1):
        yield f"7.13.{number}", Case([close(code)], code=1002, fails_at=0)


def large() -> Cases:
    text = b"BAsd7&jh23" * 104_858
    for number, size in enumerate([64 * KIB, 256 * KIB, MIB], 1):
        yield f"9.1.{number}", fine([masked(TEXT, text[:size])], [text[:size]])
        yield f"9.2.{number}", Case([masked(BINARY, text[:size])], code=1003)
    for number in range(1, 9):
        parts = chopped(text[:MIB], 64 * 4 ** (number - 1))
        yield f"9.3.{number}", fine(fragments(parts), [text[:MIB]])
        yield f"9.4.{number}", Case(fragments(parts, BINARY), code=1003, fails_at=0)
    for number in range(1, 7):
        size = 64 << number - 1
        yield f"9.5.{number}", fine(chopped(masked(TEXT, text[:MIB]), size), [text[:MIB]])
        yield f"9.6.{number}", Case(chopped(masked(BINARY, text[:MIB]), size), code=1003, fails_at=0)


def many() -> Cases:
    for number, size in enumerate([0, 16, 64, 256, KIB, 4 * KIB], 1):
        text = b"BAsd7&jh23" * 410
        yield f"9.7.{number}", fine([masked(TEXT, text[:size])] * 1_000, [text[:size]] * 1_000)
        yield f"9.8.{number}", Case([masked(BINARY, text[:size])] * 1_000, code=1003, fails_at=0)


def automatic_fragments() -> Cases:
    text = b"*" * 65_536
    yield "10.1.1", fine(fragments(chopped(text, 1_300)), [text])
