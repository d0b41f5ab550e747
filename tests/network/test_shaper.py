"""How much is read of a peer: the bucket by a hand-made clock, the whole by a served port."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import gevent
import pytest

from greenchat.network.shaper import LONGEST, Shaper
from tests.network.support import Client, FakeSession, Served, echo

Serve = Callable[..., Served]

PIECE = b"x" * 999 + b"\n"


@pytest.fixture(params=["plain", "tls"])
def wire(request: pytest.FixtureRequest) -> str:
    """All of this is so with TLS too."""
    return str(request.param)


def test_a_burst_is_free_and_what_is_beyond_has_to_be_made_up_for() -> None:
    shaper = Shaper(100, 1000, 0.0)
    assert shaper.take(1000, 0.0) == 0.0
    assert shaper.take(50, 0.0) == 0.5
    assert shaper.take(50, 0.5) == 0.5  # one debt is paid, the next made


def test_a_rest_fills_the_bucket_but_not_beyond_its_burst() -> None:
    shaper = Shaper(100, 1000, 0.0)
    shaper.take(1000, 0.0)
    assert shaper.take(500, 5.0) == 0.0
    assert shaper.take(1010, 1e6) == pytest.approx(0.1)


def test_on_average_the_rate_is_kept() -> None:
    shaper, now, sent = Shaper(100, 1000, 0.0), 0.0, 0
    while now < 1000.0:
        sent += 160
        now += shaper.take(160, now)
    assert 1000 + 100 * 1000.0 <= sent <= 1000 + 100 * 1002.0


def test_no_pause_hides_a_dead_peer() -> None:
    assert Shaper(1, 0, 0.0).take(16_384, 0.0) == LONGEST


def pings(client: Client, count: int = 20) -> None:
    """Let the loop turn: all that can be read of others is read meanwhile."""
    for _ in range(count):
        client.send(b"ping\n")
        assert client.frame() == b"ping"


def test_who_sends_too_much_is_read_no_more_for_now_and_nobody_else_is_kept_waiting(serve: Serve) -> None:
    served = serve(byte_rate=2_000, byte_burst=20_000)
    began = monotonic()
    flooder, flooded = served.pair()
    other, _ = served.pair()
    flood = gevent.spawn(flooder.send, PIECE * 10_000)
    pings(other)
    # A chunk may overdraw the bucket, and TLS gives what it kept of a record besides.
    assert 20 <= len(flooded.frames) <= 20 + 2 * 17 + 2 * (monotonic() - began)
    assert flooded.reasons == []
    flood.kill()


def test_nothing_is_lost_by_it_and_the_order_stays(serve: Serve) -> None:
    client, session = serve(byte_rate=200_000, byte_burst=16_384).pair()
    frames = [b"%0999d" % number for number in range(100)]
    gevent.spawn(client.send, b"".join(frame + b"\n" for frame in frames))
    assert [client.frame() for _ in frames] == frames
    assert session.frames == frames


def test_the_service_cannot_end_the_pause_nor_the_pause_that_of_the_service(serve: Serve) -> None:
    def hold(session: FakeSession, frame: bytes) -> None:
        session.peer.pause()
        echo(session, frame)

    served = serve(hold, byte_rate=2_000, byte_burst=0)
    client, session = served.pair()
    other, _ = serve().pair()
    client.send(b"x" * 150 + b"\nnext\n")
    client.frame()
    session.peer.resume()  # shaped for 0.08 s
    assert client.frame() == b"next"  # it was read already, but for that it waited
    client.send(b"more\n")
    gevent.sleep(0.2)
    pings(other)
    assert session.frames[1:] == [b"next"]
    session.peer.resume()
    assert client.frame() == b"more"


def test_a_connection_ends_at_once_while_it_is_not_read(serve: Serve) -> None:
    served = serve(byte_rate=1, byte_burst=0)
    client, session = served.pair()
    client.send(PIECE)
    client.frame()
    session.peer.close("shutdown")
    assert client.last_words()["reason"] == "shutdown"
    client.close()
    assert served.connections.wait_closed()
    assert session.peer.reader.shaper.timer is None


def test_who_is_exempt_is_read_at_any_rate(serve: Serve) -> None:
    served = serve(byte_rate=1, byte_burst=0, is_exempt=lambda host: host == "127.0.0.1")
    client, session = served.pair()
    gevent.spawn(client.send, PIECE * 100)
    for _ in range(100):
        assert client.frame() == PIECE.rstrip()
    assert session.peer.reader.shaper is None


def test_a_shaped_peer_is_not_taken_for_a_silent_one(serve: Serve) -> None:
    client, session = serve(byte_rate=10_000, byte_burst=0, heartbeat_interval=0.05, max_missed=2).pair()
    client.send(b"x" * 4999 + b"\n")
    assert len(client.frame()) == 4999
    client.send(b"ping\n")  # half a second has to pass first, ten beats long
    assert client.frame() == b"ping"
    assert session.reasons == []
