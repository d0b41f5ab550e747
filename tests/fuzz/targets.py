"""What is fuzzed: each target takes any bytes, and raises only if something does not hold that must.

The same functions are run by the tests (over the corpus, and a few inputs made from it) and by
``scripts/fuzz`` (for as long as one likes, led by coverage).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from ipaddress import ip_address

from greenchat.bus.cluster import frames as node_frames
from greenchat.model.records import Node
from greenchat.protocol.classic.wire import NUL
from greenchat.protocol.lines import NEWLINE, FrameTooLarge
from greenchat.protocol.proxy import (
    FIXED,
    MAX_HEADER,
    MAX_LINE,
    SIGNATURE,
    BadProxyHeader,
    ProxyHeader,
    read_header,
)
from greenchat.protocol.wire import OtherProtocol
from greenchat.service.delivery.node_events import decode_event, encode_event
from greenchat.service.node_session import NodeSession
from tests.fuzz.http import http
from tests.fuzz.scene import Conversation, Scene
from tests.fuzz.websocket import websocket
from tests.protocol.ear import Ear

# -- Frames


def frames(data: bytes) -> None:
    """Cut a stream in different ways: the frames are the same, and those of a decoder that is simple.

    The first byte says how long a frame may be, the second where to cut.
    """
    if len(data) < 2:
        return
    limit, step, rest = 1 + data[0] % 64, 1 + data[1] % 32, data[2:]
    expected = _split_simply(rest, limit)
    for size in {1, step, len(rest) or 1}:
        try:
            got = _split(rest, limit, size)
        except OtherProtocol:
            continue  # the first bytes are a length, and they came together
        assert got == expected, f"cut into pieces of {size}"


def _split(data: bytes, limit: int, size: int) -> tuple[list[bytes], bytes | None, bool]:
    """Return the frames of a stream, how they are ended, and whether one was too large.

    How they are ended is of no interest then, and whether it is known depends on how it was cut.
    """
    ear, got = Ear(limit), []
    for start in range(0, len(data), size):
        try:
            got += ear.feed(data[start : start + size])
        except FrameTooLarge as error:
            return got + error.frames, None, True
        assert len(ear.unfinished) <= limit + 1, "more is kept than a frame and a CR"
    return got, ear.terminator, False


def _split_simply(data: bytes, limit: int) -> tuple[list[bytes], bytes | None, bool]:
    """Do the same a byte at a time, as docs/protocol.md says it."""
    got: list[bytes] = []
    line, terminator = b"", None
    for byte in (data[place : place + 1] for place in range(len(data))):
        if terminator is None and not line and byte in (NEWLINE, NUL, b"\r"):
            continue
        if terminator is None and byte in (NEWLINE, NUL):
            terminator = byte
        if byte == terminator:
            frame = line.removesuffix(b"\r") if terminator == NEWLINE else line
            if len(frame) > limit:
                return got, None, True
            got += [frame] if frame else []
            line = b""
        else:
            line += byte
            if len(line.removesuffix(b"\r")) > limit:
                return got, None, True
    return got, terminator, False


# -- PROXY headers


def proxy(data: bytes) -> None:
    """Read a header as it comes in: more bytes never change what was said of the first ones."""
    said: ProxyHeader | str | None = None
    for size in [*range(min(len(data), 300)), *range(300, len(data), 97), len(data)]:
        now = _read_header(data[:size])
        if said is not None:
            assert now == said, "what was said has changed"
        said = now
    if isinstance(said, ProxyHeader):
        assert 0 < said.size <= min(len(data), MAX_HEADER)
        assert _read_header(data[: said.size]) == said, "it depends on what stands behind it"
        if said.source is not None:
            _check_source(*said.source, data[: said.size])


def _check_source(host: str, port: int, header: bytes) -> None:
    """Hold that an address is one, and was in the header."""
    address = ip_address(host)
    assert 0 <= port <= 65_535
    if header.startswith(SIGNATURE):
        width = 4 if header[13] >> 4 == 1 else 16
        at = FIXED + 2 * width
        assert address.packed == header[FIXED : FIXED + width][-len(address.packed) :]
        assert port.to_bytes(2) == header[at : at + 2]
        assert len(header) >= at + 4
    else:
        assert b" %d " % port in header


def _read_header(data: bytes) -> ProxyHeader | str | None:
    try:
        header = read_header(data)
    except BadProxyHeader as error:
        return str(error)
    if header is None:
        assert len(data) < (MAX_LINE if data.startswith(b"P") else MAX_HEADER), "it waits for ever"
    return header


# -- Between nodes


def bus(data: bytes) -> None:
    """Decode a frame of another node; one that is decoded can be taken, and sent again as it is."""
    try:
        frame = node_frames.decode(data, "me")
    except ValueError:
        return
    assert node_frames.decode(node_frames.encode(frame), "me") == frame
    incoming = node_frames.Incoming()
    for number in (frame.number, 1):
        earlier = frame._replace(source=Node(frame.source.name, 1), number=number)
        if incoming.fresh(earlier):
            incoming.take(earlier)
    if incoming.fresh(frame):
        incoming.take(frame)


def events(data: bytes) -> None:
    """Have a node take events from another one, each behind a byte with its length."""
    scene = _scene()
    with scene.bugs:
        scene.begin(alone=False)
        people = [scene.log_in(userid) for userid in (1, 2)]
        for person in people:
            person.peer.send = lambda frame: None  # type: ignore[method-assign] # it vouches for its frames
        node_session = NodeSession(scene.service, lambda: None)
        while data:
            event, data = data[1 : 1 + data[0]], data[1 + data[0] :]
            decoded = decode_event(event)
            assert decoded is None or decode_event(encode_event(decoded)) == decoded
            node_session.receive(event)
            scene.commit()
            scene.check()
        for person in people:
            person.leave()
        scene.finish()
        scene.check()
        scene.check_database()


# -- Sessions


def session(data: bytes) -> None:
    """Have the people of a scene send what they like, a line each (see ``Conversation``)."""
    scene = _scene()
    try:
        with scene.bugs:
            conversation = Conversation(scene)
            for line in data.split(b"\n"):
                conversation.step(line)
            conversation.end()
    except BaseException as error:
        error.add_note(f"in the conversation {data!r}")
        raise


@cache
def _scene() -> Scene:
    return Scene()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "proxy": proxy,
    "bus": bus,
    "events": events,
    "session": session,
    "http": http,
    "websocket": websocket,
}
"""Each target by its name."""
