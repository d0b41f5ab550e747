"""One socket and its greenlet."""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from greenchat.network import connection
from greenchat.protocol.opening import TcpOpening
from tests.garbage import alive, without_collector
from tests.network.support import DEADLINE, Client, FakeSession, Served, echo, silent

Serve = Callable[..., Served]
FRAMES = [b'{"n":%d}' % n for n in range(50)]


@pytest.fixture(params=["plain", "tls"])
def wire(request: pytest.FixtureRequest) -> str:
    """All of this is so with TLS too."""
    return str(request.param)


def quiet(caplog: pytest.LogCaptureFixture) -> bool:
    return not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_frames_arrive_whole_however_the_network_cuts_them(serve: Serve, size: int) -> None:
    client, session = serve().pair()
    stream = b"".join(frame + b"\n" for frame in FRAMES)
    for at in range(0, len(stream), size):
        client.send(stream[at : at + size])
    assert [client.frame() for _ in FRAMES] == FRAMES
    assert session.frames == FRAMES


def test_ten_thousand_frames_in_one_segment_are_handled_in_order(serve: Serve) -> None:
    client, _ = serve().pair()
    frames = [b"%d" % n for n in range(10_000)]
    client.send(b"\n".join(frames) + b"\n")
    assert [client.frame() for _ in frames] == frames


def test_a_flood_from_one_peer_is_fair_to_the_others(serve: Serve) -> None:
    served = serve(lambda session, frame: None if frame == b"x" else echo(session, frame))
    flooder, flooded = served.pair()
    other, _ = served.pair()
    flood = gevent.spawn(flooder.send, b"x\n" * 1_000_000)
    other.send(b"ping\n")
    assert other.frame() == b"ping"
    assert len(flooded.frames) < 1_000_000
    flood.kill()


def test_a_peer_that_has_gone_is_seen_to_be_gone_before_all_is_read(serve: Serve) -> None:
    seen: list[bool] = []

    def look(session: FakeSession, frame: bytes) -> None:
        seen.append(session.peer.present)
        if frame == b"wait":
            client.finish()
            gevent.sleep(0.1)

    client, session = serve(look).pair()
    client.send(b"wait\nlast\n")
    assert session.ended.wait(DEADLINE)
    assert seen == [True, False]


def test_a_flood_of_tiny_frames_is_fair_to_the_others(serve: Serve) -> None:
    """However many frames a chunk has, few are handled before all else that is due has its turn."""
    served = serve(silent)
    flooder, flooded = served.pair()
    flood = gevent.spawn(flooder.send, b"x\n" * 100_000)
    handled = [0]
    while len(flooded.frames) < 100_000:
        gevent.sleep(0)
        handled.append(len(flooded.frames))
    steps = [later - earlier for earlier, later in itertools.pairwise(handled)]
    assert max(steps) <= 128  # of 8,192 in a chunk
    flood.get()


def test_who_waits_for_its_turn_can_be_ended(serve: Serve) -> None:
    client, session = serve().pair()
    session.service.handler = lambda session, frame: session.peer.close("shutdown") if frame == b"y" else None
    client.send(b"x\n" * 63 + b"y\n" + b"x\n" * 1_000)
    assert client.last_words()["reason"] == "shutdown"
    assert len(session.frames) == 64


def test_a_peer_that_ends_its_half_still_gets_its_replies(serve: Serve) -> None:
    client, session = serve().pair()
    client.send(b"one\ntwo\n")
    client.finish()
    assert client.rest() == b"one\ntwo\n"
    assert session.reasons == ["closed by peer"]


def test_a_reply_that_is_made_after_the_peer_ended_its_half_is_delivered(serve: Serve) -> None:
    def acknowledge_late(session: FakeSession, frame: bytes) -> None:
        def acknowledge() -> None:
            session.ended.wait()
            session.say(b"stored")

        gevent.spawn(acknowledge)

    client, _ = serve(acknowledge_late).pair()
    client.send(b"chat\n")
    client.finish()
    assert client.rest() == b"stored\n"


def test_of_a_stranger_that_ends_its_half_nothing_is_left_at_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GRACE", 1_000.0)
    served = serve(user=None)
    client, _ = served.pair()
    client.send(b"ping\n")
    client.finish()
    assert client.rest() == b"ping\n"
    client.close()
    assert served.connections.wait_closed()


def test_a_reset_in_mid_frame_ends_the_connection_without_a_traceback(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    client, session = serve().pair()
    client.send(b'{"msg')
    client.reset()
    session.ended.wait()
    assert session.reasons == ["reset"]
    assert session.frames == []
    assert quiet(caplog)


def test_a_peer_that_vanished_timed_out(serve: Serve) -> None:
    client, session = serve().pair()
    session.peer.outbox.fail(TimeoutError())  # what TCP_USER_TIMEOUT and keepalive bring, after 30 seconds
    session.ended.wait()
    assert session.reasons == ["timed out"]
    assert client.rest() == b""


def test_every_end_is_one_line_of_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served = serve()
    client, _ = served.pair()
    client.close()
    assert served.connections.wait_closed()
    (line,) = [record.getMessage() for record in caplog.records if "ended" in record.getMessage()]
    assert re.fullmatch(r"127\.0\.0\.1:\d+ user=5 ended: closed by peer after \d+\.\d s", line)


def test_a_bug_in_a_handler_ends_its_connection_alone(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def fragile(session: FakeSession, frame: bytes) -> None:
        if frame == b"boom":
            raise ZeroDivisionError
        echo(session, frame)

    served = serve(fragile)
    client, session = served.pair()
    other, _ = served.pair()
    client.send(b"boom\nnever seen\n")
    assert client.last_words() == {"msgid": 24, "reason": "evicted"}
    assert (session.frames, session.reasons) == ([b"boom"], ["evicted"])
    assert "ZeroDivisionError" in caplog.text
    other.send(b"still here\n")
    assert other.frame() == b"still here"


def test_a_bug_in_opening_a_session_is_logged_and_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()
    served.service.sessions = None
    assert served.connect().last_words() == {"msgid": 24, "reason": "evicted"}
    assert "AttributeError" in caplog.text


def test_a_bug_in_ending_a_session_is_logged_and_the_peer_told(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    client, session = serve().pair()
    session.ended = None
    session.peer.close("shutdown")
    assert client.last_words()["reason"] == "shutdown"
    assert "AttributeError" in caplog.text


def test_a_bug_in_what_a_wire_notes_at_the_end_leaves_no_session_behind(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ended(opening: TcpOpening) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(TcpOpening, "ended", ended)
    served = serve()
    client, session = served.pair()
    session.peer.close("shutdown")
    assert client.last_words()["reason"] == "shutdown"
    client.close()
    assert served.connections.wait_closed()
    assert session.reasons == ["shutdown"]
    assert "ZeroDivisionError" in caplog.text


def test_a_frame_over_the_limit_is_told_and_ends_the_connection_after_those_before_it(serve: Serve) -> None:
    client, session = serve(max_frame=100).pair()
    client.send(b"fits\n" + b"x" * 101)
    assert client.frame() == b"fits"
    error = json.loads(client.frame())
    assert (error["msgid"], error["errno"]) == (14, 12)
    assert client.last_words() == {"msgid": 24, "reason": "protocol"}
    assert session.reasons == ["protocol"]


def test_a_classic_peer_gets_nul_ended_frames_and_no_bye(serve: Serve) -> None:
    client, session = serve().pair()
    client.send(b'{"msgid":1}\0')
    assert client.frame(b"\0") == b'{"msgid":1}'
    assert session.is_classic
    session.peer.close("shutdown", 1.0)
    assert client.rest() == b""


def test_a_classic_peer_is_not_told_of_a_frame_over_the_limit(serve: Serve) -> None:
    client, session = serve(max_frame=100).pair()
    client.send(b"fits\0" + b"x" * 101)
    assert client.rest() == b"fits\0"
    assert session.reasons == ["protocol"]


def test_close_says_bye_after_what_was_sent_and_takes_nothing_more(serve: Serve) -> None:
    def close_at_once(session: FakeSession, frame: bytes) -> None:
        session.say(frame)
        session.peer.close("replaced", 1.5)
        session.say(b"too late")
        session.peer.close("shutdown")

    client, session = serve(close_at_once).pair()
    client.send(b"first\nsecond\n")
    assert client.frame() == b"first"
    assert client.last_words() == {"msgid": 24, "reason": "replaced", "retry_after": 1.5}
    assert (session.frames, session.reasons) == ([b"first"], ["replaced"])


def test_a_reason_that_is_not_of_the_protocol_is_not_told(serve: Serve) -> None:
    client, session = serve().pair()
    session.peer.close("tired of it")
    assert client.rest() == b""
    assert session.reasons == ["tired of it"]


def test_bye_is_read_by_a_peer_that_goes_on_sending(serve: Serve) -> None:
    client, session = serve(silent).pair()
    client.send(b"x\n" * 100_000)
    session.peer.close("shutdown")
    client.send(b"y\n" * 100_000)
    assert client.last_words()["reason"] == "shutdown"


def test_a_closed_peer_has_time_to_end_its_half_before_it_is_reset(serve: Serve) -> None:
    served = serve()
    client, session = served.pair()
    session.peer.close("shutdown")
    client.last_words()
    for _ in range(2):  # a reset would answer the first, and the second would find the pipe broken
        client.send(b"z\n")
        ping(served)


def test_close_during_a_handler_is_told_at_once_and_lets_the_handler_finish(serve: Serve) -> None:
    entered, go_on = Event(), Event()

    def slow(session: FakeSession, frame: bytes) -> None:
        entered.set()
        go_on.wait()

    client, session = serve(slow).pair()
    client.send(b"one\ntwo\n")
    entered.wait()
    session.peer.close("shutdown")
    assert json.loads(client.frame())["reason"] == "shutdown"
    assert session.reasons == []
    go_on.set()
    session.ended.wait()
    assert (session.frames, session.reasons) == ([b"one"], ["shutdown"])
    assert client.rest() == b""


def test_input_during_a_handler_waits_for_it(serve: Serve) -> None:
    entered, go_on = Event(), Event()

    def slow(session: FakeSession, frame: bytes) -> None:
        entered.set()
        go_on.wait()
        echo(session, frame)

    served = serve(slow)
    client, session = served.pair()
    client.send(b"one\n")
    entered.wait()
    client.send(b"two\n")
    served.pair()  # and by now the input has been seen
    turns = served.server.loop.iteration
    gevent.sleep(0.05)
    assert served.server.loop.iteration - turns < 50, "the loop spins"
    assert session.frames == [b"one"]
    go_on.set()
    assert [client.frame(), client.frame()] == [b"one", b"two"]


def pause_at(word: bytes) -> Callable[[FakeSession, bytes], None]:
    def handler(session: FakeSession, frame: bytes) -> None:
        if frame == word:
            session.peer.pause()
        echo(session, frame)

    return handler


def ping(served: Served) -> Client:
    """Let the loop go round: a new connection is greeted, an echo comes back."""
    client, _ = served.pair()
    client.send(b"ping\n")
    assert client.frame() == b"ping"
    return client


def test_a_paused_peer_is_not_read_and_frames_read_already_wait(serve: Serve) -> None:
    served = serve(pause_at(b"stop"))
    client, session = served.pair()
    client.send(b"stop\nread already\n")
    assert client.frame() == b"stop"
    client.send(b"unread\n")
    ping(served)
    assert session.frames == [b"stop"]
    session.peer.resume()
    assert [client.frame(), client.frame()] == [b"read already", b"unread"]


def test_a_peer_that_was_paused_while_idle_is_not_read_until_resumed(serve: Serve) -> None:
    served = serve()
    client, session = served.pair()
    client.send(b"one\n")
    client.frame()
    session.peer.pause()
    client.send(b"two\n")
    ping(served)
    assert session.frames == [b"one"]
    session.peer.resume()
    assert client.frame() == b"two"


def test_a_wake_that_comes_late_does_not_disturb_a_handler(serve: Serve) -> None:
    go_on = Event()

    def slow(session: FakeSession, frame: bytes) -> None:
        go_on.wait()
        echo(session, frame)

    client, session = serve(slow).pair()
    session.peer.pause()
    client.send(b"one\n")
    session.peer.resume()
    session.peer.resume()
    while not session.frames:
        gevent.sleep(0)
    gevent.sleep(0)
    go_on.set()
    assert client.frame() == b"one"
    assert session.reasons == []


@pytest.mark.parametrize("waiting", [b"stop\nread already\n", b"stop\n"])
def test_a_paused_connection_can_be_closed(serve: Serve, waiting: bytes) -> None:
    client, session = serve(pause_at(b"stop")).pair()
    client.send(waiting)
    assert client.frame() == b"stop"
    session.peer.close("evicted")
    assert client.last_words()["reason"] == "evicted"
    assert session.frames == [b"stop"]


def test_the_session_is_told_before_the_peer_has_read_anything(serve: Serve) -> None:
    _, session = serve(outbox_limit=50_000_000).pair(receive_buffer=4096)
    session.say(b"x" * 20_000_000)
    session.peer.close("replaced")
    session.ended.wait()
    assert len(session.reasons) == 1


def test_a_connection_that_has_ended_waits_for_no_garbage_collector(serve: Serve) -> None:
    """Else the memory of thousands that come and go together would grow until it runs."""
    served = serve()
    with without_collector():
        before = alive(connection.Connection)
        client, session = served.pair()
        client.send(b"hello\n")
        assert client.frame() == b"hello"
        client.close()
        assert session.ended.wait(DEADLINE)
        del session
        with gevent.Timeout(DEADLINE):
            while alive(connection.Connection) > before:
                gevent.sleep(0.01)
