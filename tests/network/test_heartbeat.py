"""Who is evicted, and when: the rule by hand-made ticks, the whole by a served port."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import gevent
import pytest
from gevent.event import Event

from greenchat.network import heartbeat
from greenchat.network.heartbeat import Heartbeat
from greenchat.network.limits import Limits
from greenchat.network.silent import SilentConnections
from tests.network.support import FakeSession, Served, echo

Serve = Callable[..., Served]

CLASSIC = SimpleNamespace(beats=False, ping_after=0.0)
PINGED = SimpleNamespace(beats=False, ping_after=2.0, pongs=True, ping=b"?")


class Peer(SimpleNamespace):
    """What the supervision sees of a connection."""

    def __init__(
        self,
        user: int | None = 5,
        heard: bool = False,
        busy: bool = False,
        stuck: Any = lambda now: 0.0,
        **kwargs: Any,
    ) -> None:
        state = {
            "session": SimpleNamespace(user=user), "missed": 0, "anonymous_since": 0.0,
            "silent": lambda: True, "wire": SimpleNamespace(beats=True, ping_after=0.0), "reasons": [],
            "reader": SimpleNamespace(heard=heard, busy=busy),
            "may_think": False, "address": "192.0.2.1:1", "make_room": lambda: self.reasons.append("room"),
            "take_more": lambda: None, "take_no_more": lambda: self.reasons.append("no more"),
            "outbox": SimpleNamespace(stuck=stuck, cut_off=lambda: self.close("slow_consumer")),
        }  # fmt: skip
        super().__init__(**{**state, **kwargs})

    def close(self, reason: str) -> None:
        self.reasons.append(reason)

    __hash__ = object.__hash__  # type: ignore[assignment]


class Clock:
    """Tick a supervision of one peer at chosen times; five beats may be missed."""

    def __init__(
        self,
        peer: Peer,
        interval: float = 1.0,
        outbox_seconds: float = 0.0,
        silent_timeout: float = 0.0,
        ping_after: float = inf,
    ) -> None:
        self.peer = peer
        self.silent = SilentConnections(Limits(silent_timeout=silent_timeout, max_silent_per_address=1))
        self.now = 0.0
        with patch.object(heartbeat, "monotonic", lambda: self.now):
            self.heartbeat = Heartbeat(
                [peer],  # type: ignore[list-item]
                interval,
                5,
                60.0 if ping_after < inf else 10.0,
                outbox_seconds,
                self.silent,
                ping_after,
            )

    def tick(self, times: int = 1, after: float = 1.0) -> list[str]:
        for _ in range(times):
            self.now += after
            self.heartbeat.tick(self.now)
        return list(self.peer.reasons)


def test_five_missed_beats_evict() -> None:
    clock = Clock(Peer())
    assert clock.tick(4) == []
    assert clock.tick() == ["evicted"]


def test_a_silent_client_on_websocket_is_pinged_and_evicted_when_five_pings_were_not_answered() -> None:
    sent: list[bytes] = []
    clock = Clock(Peer(wire=PINGED, send=sent.append, heard=True))
    assert (clock.tick(2), sent) == ([], [])
    assert (clock.tick(), sent) == ([], [b"?"])
    assert (clock.tick(8), sent) == ([], [b"?"] * 5)
    assert clock.tick(2) == ["evicted"]
    assert sent == [b"?"] * 5


def test_a_reader_of_events_is_pinged_and_never_evicted_for_its_silence() -> None:
    sent: list[bytes] = []
    reader = SimpleNamespace(beats=False, ping_after=2.0, pongs=False, ping=b":")
    assert Clock(Peer(wire=reader, send=sent.append)).tick(100) == []
    assert len(sent) == 50


def test_pings_do_not_wait_for_a_longer_interval_of_heartbeats() -> None:
    sent: list[bytes] = []
    peer = Peer(wire=PINGED, send=sent.append, heard=True)
    clock = Clock(peer, interval=60.0, ping_after=2.0)
    assert (clock.tick(2, after=2.0), sent) == ([], [b"?"])
    assert (clock.tick(after=30.0), sent) == ([], [b"?"]), (
        "a late tick counts against no one, that tick alone"
    )
    assert (clock.tick(4, after=2.0), sent) == ([], [b"?"] * 5)
    assert clock.tick(after=2.0) == ["evicted"]


def test_a_client_that_answers_pings_stays() -> None:
    sent: list[bytes] = []
    clock = Clock(Peer(wire=PINGED, send=sent.append))
    for _ in range(50):
        clock.peer.reader.heard = clock.peer.missed > 2
        assert clock.tick() == []
    assert len(sent) > 10


def test_the_interval_of_the_last_byte_is_not_missed() -> None:
    clock = Clock(Peer(heard=True))
    assert clock.tick(5) == []
    assert clock.tick() == ["evicted"]


def test_any_byte_starts_the_count_again() -> None:
    clock = Clock(Peer())
    clock.tick(4)
    clock.peer.reader.heard = True
    assert clock.tick(5) == []
    assert clock.tick() == ["evicted"]


def test_a_late_tick_counts_against_no_one() -> None:
    clock = Clock(Peer())
    clock.tick(4)
    assert clock.tick(after=30.0) == []
    assert clock.tick() == ["evicted"]


def test_a_late_tick_ends_no_login_either() -> None:
    clock = Clock(Peer(user=None))
    assert clock.tick(after=30.0) == []
    assert clock.tick() == ["evicted"]


def test_nor_does_it_put_off_the_end_of_a_login_until_the_next_beat() -> None:
    clock = Clock(Peer(user=None), interval=60.0)  # a tick comes each two seconds
    assert clock.tick(after=12.0) == []
    assert clock.tick(after=2.0) == ["evicted"]


@pytest.mark.parametrize("state", [{"silent": lambda: False}, {"wire": CLASSIC}, {"session": None}])
def test_who_cannot_be_heard_or_knows_no_heartbeats_is_not_evicted(state: dict[str, Any]) -> None:
    assert Clock(Peer(**state)).tick(20) == []


def test_who_is_not_logged_in_has_ten_seconds_whatever_they_send() -> None:
    clock = Clock(Peer(user=None, heard=True))
    assert clock.tick(9) == []
    clock.peer.reader.heard = True
    assert clock.tick() == ["evicted"]


def test_no_login_ends_while_it_is_being_handled() -> None:
    clock = Clock(Peer(user=None, busy=True, silent=lambda: False))
    assert "evicted" not in clock.tick(100)
    clock.peer.reader.busy = False
    assert "evicted" in clock.tick()


def test_the_request_that_is_being_handled_when_the_time_is_over_is_the_last() -> None:
    clock = Clock(Peer(user=None, busy=True, silent=lambda: False))
    assert clock.tick(9) == []
    assert clock.tick() == ["no more"]


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_login_that_is_being_handled_may_take_longer_but_one_after_the_other_not_for_ever(
    serve: Serve, succeeds: bool
) -> None:
    go_on = Event()

    def login(session: FakeSession, frame: bytes) -> None:
        go_on.wait()
        session.user = 5 if succeeds else None
        echo(session, frame)

    served = serve(login, user=None, heartbeat_interval=0.02, login_timeout=0.1, max_missed=1000)
    client, session = served.pair()
    client.send(b"first\nsecond\n")
    other, _ = served.pair()
    other.rest()  # one that came later has been ended
    go_on.set()
    assert client.frame() == b"first"
    if succeeds:
        assert client.frame() == b"second"
        assert session.reasons == []
    else:
        assert client.last_words() == {"msgid": 24, "reason": "evicted"}
        assert session.frames == [b"first"]


def test_one_that_has_said_nothing_may_think_for_longer() -> None:
    clock = Clock(Peer(user=None, may_think=True), silent_timeout=60.0)
    assert clock.tick(59) == []
    assert clock.tick(2)[:1] == ["evicted"]


def test_a_person_with_an_original_client_has_the_longer_time_after_each_request() -> None:
    clock = Clock(Peer(user=None, may_think=True), silent_timeout=60.0)
    clock.tick(50)
    clock.peer.reader.heard = True
    assert clock.tick(59) == []
    assert clock.tick(2)[:1] == ["evicted"]


def test_a_modern_client_that_speaks_after_a_long_silence_has_the_shorter_time_from_then() -> None:
    clock = Clock(Peer(user=None, may_think=True), silent_timeout=60.0)
    clock.tick(50)
    clock.peer.may_think = False
    assert clock.tick(10) == []
    assert clock.tick(2)[:1] == ["evicted"]


def test_one_too_many_of_its_address_has_the_shorter_time() -> None:
    clock = Clock(Peer(user=None, may_think=True), silent_timeout=60.0)
    clock.silent.grant(Peer())
    assert clock.tick(9) == []
    assert clock.tick() == ["evicted"]


def test_who_logs_in_takes_no_room_of_the_silent_any_more() -> None:
    clock = Clock(Peer(user=None, may_think=True), silent_timeout=60.0)
    clock.tick(20)
    assert len(clock.silent) == 1
    clock.peer.session.user = 5
    clock.tick()
    assert len(clock.silent) == 0


def test_a_logout_starts_the_login_time_again() -> None:
    clock = Clock(Peer(heard=True))
    clock.tick()
    clock.peer.session.user = None
    assert clock.tick(10) == []
    assert clock.tick() == ["evicted"]


@pytest.mark.parametrize("state", [{}, {"user": None}, {"wire": CLASSIC}])
def test_who_takes_nothing_for_too_long_is_a_slow_consumer(state: dict[str, Any]) -> None:
    clock = Clock(Peer(silent=lambda: False, stuck=lambda now: now - 0.5, **state), outbox_seconds=8.0)
    assert clock.tick(8) == []
    assert clock.tick() == ["slow_consumer"]


def test_a_late_tick_makes_no_slow_consumer() -> None:
    clock = Clock(Peer(heard=True, stuck=lambda now: now), outbox_seconds=8.0)
    assert clock.tick(after=30.0) == []
    assert clock.tick() == ["slow_consumer"]


def test_where_any_time_is_granted_nobody_is_a_slow_consumer() -> None:
    assert Clock(Peer(silent=lambda: False, stuck=lambda now: now)).tick(20) == []


def test_backlogs_are_looked_at_in_time_however_long_an_interval_is() -> None:
    clock = Clock(Peer(stuck=lambda now: now), interval=100.0, outbox_seconds=5.0)
    assert clock.tick(4) == []
    assert clock.tick() == ["slow_consumer"]


def test_a_silent_client_is_evicted_in_its_time(serve: Serve) -> None:
    client, session = serve(heartbeat_interval=0.05, max_missed=5).pair()
    client.send(b"last\n")
    began = monotonic()
    client.frame()
    assert client.last_words() == {"msgid": 24, "reason": "evicted"}
    assert monotonic() - began >= 5 * 0.05
    assert session.reasons == ["evicted"]


def test_a_client_that_beats_stays(serve: Serve) -> None:
    client, session = serve(heartbeat_interval=0.1, max_missed=3).pair()
    began = monotonic()
    while monotonic() - began < 0.7:
        client.send(b"beat\n")
        assert client.frame() == b"beat"
        gevent.sleep(0.03)
    assert session.reasons == []


def test_a_client_that_is_not_read_is_not_evicted_until_it_is_silent_while_read(serve: Serve) -> None:
    def pause(session: FakeSession, frame: bytes) -> None:
        session.peer.pause()
        echo(session, frame)

    served = serve(pause, heartbeat_interval=0.02, max_missed=2)
    client, session = served.pair()
    client.send(b"one\n")
    client.frame()
    silent, _ = served.pair()
    silent.last_words()  # another client's eviction: enough ticks have passed
    assert session.reasons == []
    session.peer.resume()
    assert client.last_words()["reason"] == "evicted"


def test_a_long_handler_is_no_silence(serve: Serve) -> None:
    go_on = Event()

    def slow(session: FakeSession, frame: bytes) -> None:
        go_on.wait()
        echo(session, frame)

    served = serve(slow, heartbeat_interval=0.02, max_missed=2)
    client, session = served.pair()
    client.send(b"one\n")
    silent, _ = served.pair()
    silent.last_words()
    assert session.reasons == []
    go_on.set()
    assert client.frame() == b"one"


def test_the_supervision_survives_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer()
    broken = Peer(session=object())
    peers = [broken]
    heartbeat = Heartbeat(peers, 0.01, 1)  # type: ignore[arg-type]
    heartbeat.start()
    while "a bug in the heartbeat" not in caplog.text:
        gevent.sleep(0.01)
    peers[:] = [peer]
    while not peer.reasons:
        gevent.sleep(0.01)
    heartbeat.stop()


def test_a_logout_between_two_beats_starts_the_login_time_again_too() -> None:
    """Where the interval is long, logins are looked at more often than beats."""
    clock = Clock(Peer(heard=True), interval=60.0)
    clock.tick(10, after=2.0)
    clock.peer.session.user = None
    assert clock.tick(5, after=2.0) == []
    assert clock.tick(after=2.0) == ["evicted"]
