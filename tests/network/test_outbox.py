"""The sending half: order, coalescing, bounded memory, callbacks."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest
from gevent.event import Event

from greenchat.metrics import EVICTIONS
from greenchat.network import connection
from greenchat.network import outbox as network_outbox
from greenchat.network.outbox import Flusher, Outbox
from tests.network.support import DEADLINE, FakeSession, Served, echo, silent

Serve = Callable[..., Served]
MEGABYTE = b"m" * 1_000_000


@pytest.fixture(params=["plain", "tls"])
def wire(request: pytest.FixtureRequest) -> str:
    """All of this is so with TLS too."""
    return str(request.param)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections end because all is written: on a busy machine 20 MB through TLS take long."""
    monkeypatch.setattr(connection, "LINGER", 10 * DEADLINE)


class ScriptedSocket:
    """Take of each send the scripted number of bytes (None: would block), then everything."""

    def __init__(self, *script: int | Exception | None) -> None:
        self.script = list(script)
        self.sends: list[bytes] = []

    def send(self, data: bytes) -> int:
        step = self.script.pop(0) if self.script else len(data)
        if step is None:
            raise BlockingIOError
        if isinstance(step, Exception):
            raise step
        self.sends.append(bytes(data[:step]))
        return len(self.sends[-1])

    in_flight = 0

    def fileno(self) -> int:
        return 0  # to make a watcher; the tests turn the loop no further


class Box(Outbox):
    """An outbox of 1,000 bytes that is its own owner: at its end is a BYE."""

    def __init__(self, sock: ScriptedSocket, limit: int = 1000, flusher: Flusher | None = None) -> None:
        super().__init__(sock, flusher or Flusher(), limit, self)  # type: ignore[arg-type]
        self.sock = sock
        self.reasons: list[str] = []
        self.called: list[int] = []

    def overflowed(self) -> None:
        self.close("slow_consumer")

    def broken(self, error: OSError) -> None:
        """Nothing is left to do."""

    def wrote(self, eased: bool) -> None:
        """Nobody reads this peer."""

    def eased(self) -> None:
        """Nobody reads this peer."""

    def close(self, reason: str) -> None:
        self.reasons.append(reason)
        self.send_last(b"bye\n")
        self.seal()

    def writable(self) -> None:
        """Do what the watcher does once the socket takes more."""
        self._writable()

    def say(self, frame: bytes) -> None:
        """Send a line."""
        self.send(frame + b"\n")

    def call(self, number: int) -> None:
        """Remember when what was sent so far is written."""
        self.when_written(lambda: self.called.append(number))


def outbox(sock: ScriptedSocket) -> Box:
    return Box(sock)


def test_the_frames_of_a_turn_are_one_send() -> None:
    sock = ScriptedSocket()
    box = outbox(sock)
    for frame in (b"one", b"two", b"three"):
        box.say(frame)
    assert sock.sends == []
    gevent.sleep(0)
    gevent.sleep(0)
    assert sock.sends == [b"one\ntwo\nthree\n"]


def test_frames_sent_to_a_broken_socket_are_dropped_silently() -> None:
    sock = ScriptedSocket(BrokenPipeError(), 0)
    box = outbox(sock)
    called: list[bool] = []
    box.say(b"lost")
    box.when_written(lambda: called.append(True))
    box.flush()
    box.say(b"lost too")
    box.flush()
    assert (sock.sends, called) == ([], [])


def test_when_written_is_called_at_once_if_nothing_is_unsent() -> None:
    called: list[bool] = []
    outbox(ScriptedSocket()).when_written(lambda: called.append(True))
    assert called == [True]


def test_when_written_is_called_when_the_last_byte_is_with_the_socket() -> None:
    box = outbox(ScriptedSocket())
    called: list[bool] = []
    box.say(b"frame")
    box.when_written(lambda: called.append(True))
    assert called == []
    box.flush()
    assert called == [True]


def test_a_bug_in_a_callback_harms_no_other() -> None:
    def buggy() -> None:
        raise ZeroDivisionError

    box = outbox(ScriptedSocket())
    called: list[bool] = []
    box.say(b"frame")
    box.when_written(buggy)
    box.when_written(lambda: called.append(True))
    box.flush()
    assert called == [True]


class Fragile(Box):
    """One that cannot even be ended."""

    def close(self, reason: str) -> None:
        raise ZeroDivisionError


def test_a_bug_in_writing_to_a_peer_and_in_ending_it_harms_no_other() -> None:
    flusher = Flusher()
    fragile = Fragile(ScriptedSocket(ZeroDivisionError()), flusher=flusher)
    other = Box(ScriptedSocket(), flusher=flusher)
    for box in (fragile, other):
        box.say(b"frame")
    gevent.sleep(0)
    gevent.sleep(0)
    assert other.sock.sends == [b"frame\n"]


def test_when_written_does_not_wait_for_what_is_sent_after_it() -> None:
    box = outbox(ScriptedSocket(3))
    box.say(b"partly written")
    box.flush()
    box.call(1)
    box.say(b"later")
    box.call(2)
    box.sock.script = [None]
    box.writable()
    assert box.called == []
    box.sock.script = [12]
    box.writable()
    assert box.called == [1]
    box.writable()
    assert box.called == [1, 2]


def test_what_fits_the_socket_is_no_reason_to_call_a_peer_slow() -> None:
    sock = ScriptedSocket()
    box = outbox(sock)
    for _ in range(10):
        box.say(b"x" * 600)
    box.flush()
    assert box.reasons == []
    assert sum(map(len, sock.sends)) == 6010


def test_a_slow_consumer_is_not_told_that_dropped_frames_were_written() -> None:
    sock = ScriptedSocket(3)
    box = outbox(sock)
    box.say(b"partly written")
    box.say(b"dropped")
    box.call(1)
    box.flush()
    box.say(b"x" * 1000)
    box.call(2)
    box.say(b"one too many")
    box.call(3)
    assert box.reasons == ["slow_consumer"]
    box.writable()
    assert b"".join(sock.sends) == b"partly written\nbye\n"
    assert box.called == []


def test_who_ended_its_half_and_then_fell_behind_gets_nothing_after_a_gap() -> None:
    sock = ScriptedSocket(3)
    box = outbox(sock)
    box.close = lambda reason: None  # type: ignore[method-assign]  # it has a reason
    box.say(b"partly written")
    box.say(b"x" * 1000)
    box.flush()
    waits = gevent.spawn(box.drain)
    gevent.sleep(0)
    box.say(b"one too many")
    box.say(b"after it")
    box.writable()
    assert b"".join(sock.sends) == b"partly written\n"
    assert waits.get() is False


def test_a_peer_whose_socket_breaks_is_no_slow_consumer() -> None:
    box = outbox(ScriptedSocket(BrokenPipeError()))
    before = EVICTIONS.values["slow_consumer"]
    box.say(b"x" * 1001)
    box.say(b"one too many")
    assert box.reasons == []
    assert EVICTIONS.values["slow_consumer"] == before


def test_a_callback_may_send_more_than_the_socket_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    make = network_outbox.SlowPeer

    def remembered(*args: Any) -> Any:
        made.append(make(*args))
        return made[-1]

    monkeypatch.setattr(network_outbox, "SlowPeer", remembered)
    sock = ScriptedSocket(6, 900, None)
    box = outbox(sock)

    def send_much() -> None:
        for _ in range(3):
            box.say(b"x" * 600)

    box.say(b"first")
    box.when_written(send_much)
    box.flush()
    while box.is_behind:
        box.writable()
    assert [backlog.watcher.active for backlog in made] == [False]
    assert b"".join(sock.sends) == b"first\n" + (b"x" * 600 + b"\n") * 3


def test_a_slow_consumer_of_which_no_frame_is_begun_gets_bye_alone() -> None:
    sock = ScriptedSocket(6, None)
    box = outbox(sock)
    box.say(b"whole")
    box.say(b"x" * 1000)
    box.flush()
    box.say(b"one too many")
    box.flush()
    assert box.reasons == ["slow_consumer"]
    assert b"".join(sock.sends) == b"whole\n"
    sock.script = []
    box.flush()
    box.writable()
    assert b"".join(sock.sends) == b"whole\nbye\n"


def test_order_is_kept_to_a_slow_reader_through_partial_writes(serve: Serve) -> None:
    client, session = serve().pair(receive_buffer=16_384)
    draw = random.Random(1)
    frames = [b"%d:" % n + b"x" * draw.randrange(40_000) for n in range(1000)]  # about 20 MB

    def feed() -> None:
        for frame in frames:
            session.say(frame)
            if draw.random() < 0.1:
                session.peer.drain()

    feeder = gevent.spawn(feed)
    assert all(client.frame() == frame for frame in frames)
    feeder.get()
    assert session.reasons == []


def test_a_slow_consumer_gets_whole_frames_then_bye_and_the_others_are_undisturbed(serve: Serve) -> None:
    served = serve()
    slow, session = served.pair(receive_buffer=4096)
    other, _ = served.pair()
    before = EVICTIONS.values["slow_consumer"]
    sent = 0
    while not session.ended.is_set():
        session.say(b"%d:" % sent + b"x" * 10_000)
        sent += 1
        if sent % 10 == 0:
            gevent.sleep(0)
    other.send(b"ping\n")
    assert other.frame() == b"ping"
    *frames, bye = slow.rest().removesuffix(b"\n").split(b"\n")
    assert bye == b'{"msgid":24,"reason":"slow_consumer"}'
    assert frames == [b"%d:" % n + b"x" * 10_000 for n in range(len(frames))]
    assert 0 < len(frames) < sent
    assert session.reasons == ["slow_consumer"]
    assert EVICTIONS.values["slow_consumer"] == before + 1


def test_unsent_bytes_are_bounded_even_within_one_turn(serve: Serve) -> None:
    _, session = serve().pair(receive_buffer=4096)
    for _ in range(100):
        session.say(MEGABYTE)
    session.ended.wait()
    assert session.reasons == ["slow_consumer"]


def test_one_frame_of_any_size_fits(serve: Serve) -> None:
    client, session = serve(outbox_limit=1000).pair()
    session.say(MEGABYTE)
    assert client.frame() == MEGABYTE
    assert session.reasons == []


def test_a_peer_that_does_not_read_gets_no_more_replies_made_for_it(serve: Serve) -> None:
    def reply_at_length(session: FakeSession, frame: bytes) -> None:
        session.say(b"r" * 100_000)

    served = serve(reply_at_length)
    client, session = served.pair(receive_buffer=4096)
    client.send(b"request\n" * 1000)
    while not session.frames:
        gevent.sleep(0)
    other, _ = served.pair()
    other.send(b"ping\n")
    other.frame()
    assert 0 < len(session.frames) < 1000
    for _ in range(1000):
        assert len(client.frame()) == 100_000
    assert session.reasons == []


def test_when_written_waits_for_a_peer_that_is_behind(serve: Serve) -> None:
    client, session = serve(outbox_limit=50_000_000).pair(receive_buffer=4096)
    written = Event()
    session.say(MEGABYTE * 20)
    session.peer.when_written(written.set)
    client.frame(b"m" * 1000)
    assert not written.is_set()
    while not written.is_set():
        client.wire.recv(1_000_000)


def test_when_written_is_never_called_if_the_connection_ends_before(serve: Serve) -> None:
    client, session = serve(outbox_limit=50_000_000).pair(receive_buffer=4096)
    written = Event()
    session.say(MEGABYTE * 20)
    session.peer.when_written(written.set)
    client.wire.recv(1)
    client.reset()
    session.ended.wait()
    session.peer.when_written(written.set)
    assert not written.is_set()


def test_drain_ends_with_the_connection(serve: Serve) -> None:
    _, session = serve(outbox_limit=50_000_000).pair(receive_buffer=4096)
    session.say(MEGABYTE * 20)
    draining = gevent.spawn(session.peer.drain)
    gevent.sleep(0)
    assert not draining.ready()
    session.peer.close("shutdown")
    draining.get()


def test_a_handler_that_drains_does_not_outlive_its_closed_connection(serve: Serve) -> None:
    def stream(session: FakeSession, frame: bytes) -> None:
        session.say(MEGABYTE * 20)
        session.peer.drain()

    client, session = serve(stream, outbox_limit=50_000_000).pair(receive_buffer=4096)
    client.send(b"go\n")
    client.wire.recv(1)
    session.peer.close("shutdown")
    session.ended.wait()
    assert session.reasons == ["shutdown"]


def test_sending_to_an_ended_connection_does_nothing(serve: Serve) -> None:
    served = serve(silent)
    client, session = served.pair()
    client.reset()
    assert served.connections.wait_closed()
    session.say(b"frame")
    session.peer.drain()
    session.peer.close("shutdown")
    session.peer.pause()
    session.peer.resume()
    assert session.reasons == ["reset"]


def test_bye_is_never_over_the_limit(serve: Serve) -> None:
    client, session = serve(outbox_limit=1000).pair(receive_buffer=4096)
    session.say(MEGABYTE * 20)
    gevent.sleep(0)
    session.peer.close("shutdown")
    assert client.last_words() == {"msgid": 24, "reason": "shutdown"}


def test_a_closed_connection_ends_once_a_small_backlog_is_written(serve: Serve) -> None:
    client, session = serve().pair(receive_buffer=4096)
    while session.peer.outbox.is_behind is None:
        session.say(b"x" * 30_000)
        session.peer.outbox.flush()
    session.peer.close("shutdown")
    assert client.last_words()["reason"] == "shutdown"


def test_what_is_sent_while_the_peer_was_behind_follows_in_order(serve: Serve) -> None:
    client, session = serve(echo, outbox_limit=50_000_000).pair(receive_buffer=4096)
    session.say(MEGABYTE * 20)
    gevent.sleep(0)
    session.say(b"after")
    session.peer.close("shutdown")
    assert client.rest() == MEGABYTE * 20 + b'\nafter\n{"msgid":24,"reason":"shutdown"}\n'


def test_frames_of_many_peers_that_are_behind_are_held_once() -> None:
    frames = [b"%d" % number + b"x" * 10_000 + b"\n" for number in range(100)]  # of a large group, say
    tracemalloc.start()
    try:
        boxes = [Box(ScriptedSocket(5), 10_000_000) for _ in range(100)]
        for box in boxes:
            for frame in frames:
                box.send(frame)
            box.flush()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(box.unsent == 1_000_290 - 5 for box in boxes)
    assert most < 5_000_000


def test_what_was_partly_written_goes_on_where_it_ended_however_it_was_cut() -> None:
    draw = random.Random(2)
    for _ in range(300):
        frames = [
            b"%d" % n + b"x" * draw.choice((0, 1, 5, 300, 70_000)) + b"\n"
            for n in range(draw.randrange(1, 12))
        ]
        sock = ScriptedSocket(*(draw.choice((None, 0, 1, 2, 3, 7, 500, 65_536)) for _ in range(60)))
        box = Box(sock, 10_000_000)
        called: list[int] = []
        due: list[int] = []  # for each frame, bytes up to its end
        for number, frame in enumerate(frames):
            box.send(frame)
            due.append((due[-1] if due else 0) + len(frame))
            box.when_written(partial(called.append, number))
            for write in draw.choice(((), (box.flush,), (box.flush, box.writable))):
                if write == box.flush or box.is_behind:
                    write()
                sent = sum(map(len, sock.sends))
                assert called == [number for number, end in enumerate(due) if end <= sent]
                assert box.unsent == due[-1] - sent
        while box.unsent:
            box.flush()
            if box.is_behind:
                box.writable()
        assert b"".join(sock.sends) == b"".join(frames)
        assert called == list(range(len(frames)))


# -- The age of a backlog


def behind(session: FakeSession, size: int) -> Any:
    """Send so much that the peer is behind."""
    for _ in range(size // len(MEGABYTE)):
        session.say(MEGABYTE)
        session.peer.outbox.flush()
    assert session.peer.outbox.is_behind
    return session.peer


def test_how_long_a_peer_takes_nothing_is_known(serve: Serve) -> None:
    client, session = serve(outbox_limit=100_000_000).pair(receive_buffer=4096)
    assert session.peer.outbox.stuck(1000.0) == 0.0  # nothing waits for it
    peer = behind(session, 20_000_000)
    gevent.sleep(0.2)  # the kernels agree on what fits between them
    peer.outbox.stuck(1000.0)
    assert peer.outbox.stuck(1007.0) == 7.0
    client.wire.recv(1_048_576)
    gevent.sleep(0.2)
    assert peer.outbox.stuck(1010.0) == 0.0  # though the socket is not writable yet
    assert peer.outbox.stuck(1011.0) == 1.0


def test_who_takes_nothing_for_too_long_is_let_go_and_who_takes_a_little_is_not(serve: Serve) -> None:
    served = serve(outbox_limit=100_000_000, outbox_seconds=0.5, heartbeat_interval=0.1, max_missed=10_000)
    dead, its = served.pair(receive_buffer=4096)
    slow, other = served.pair(receive_buffer=4096)
    before = EVICTIONS.values["slow_consumer"]
    behind(its, 20_000_000)
    behind(other, 20_000_000)
    while not its.reasons:
        slow.wire.recv(65_536)
        gevent.sleep(0.05)
    assert its.reasons == ["slow_consumer"]
    assert other.reasons == []
    assert EVICTIONS.values["slow_consumer"] == before + 1
    data = dead.rest()
    assert data.endswith(b'\n{"msgid":24,"reason":"slow_consumer"}\n')
    assert {len(frame) for frame in data.splitlines()[:-1]} == {len(MEGABYTE)}


def test_who_is_cut_off_once_is_stuck_no_more(serve: Serve) -> None:
    _, session = serve(outbox_limit=100_000_000).pair(receive_buffer=4096)
    peer = behind(session, 20_000_000)
    peer.outbox.stuck(1000.0)
    peer.outbox.cut_off()
    assert peer.outbox.stuck(2000.0) == 0.0


def test_who_takes_something_is_not_silent_though_it_is_not_read(serve: Serve) -> None:
    client, session = serve(outbox_limit=100_000_000).pair(receive_buffer=4096)
    peer = behind(session, 20_000_000)
    gevent.sleep(0.2)  # the kernels agree on what fits between them
    peer.silent()
    assert peer.silent()
    peer.missed, written = 3, peer.outbox.written
    while peer.outbox.written == written:
        client.wire.recv(1_048_576)
        gevent.sleep(0)
    assert not peer.silent()
    assert peer.missed == 0
    assert peer.silent()


class Ended:
    """An owner that has nothing more to do."""

    def eased(self) -> None:
        pass


@pytest.mark.parametrize("is_paced", [False, True])
def test_an_owner_that_has_ended_waits_for_no_garbage_collector(is_paced: bool) -> None:
    owner = Ended()
    outbox = Outbox(ScriptedSocket(), Flusher(), 1000, owner)  # type: ignore[arg-type]
    if is_paced:
        outbox.pace(0.03)
    gone = weakref.ref(owner)
    gc.disable()
    try:
        outbox.release()
        outbox.disown()
        del owner
        assert gone() is None
    finally:
        gc.enable()
