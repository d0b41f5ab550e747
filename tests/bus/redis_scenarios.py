"""What test_redis.py runs in a monkey-patched process: ``python -m tests.bus.redis_scenarios NAME URL``.

A scenario asks its test to do something to the server by a line on stdout, and goes on at the answer.
"""

from tests.bus.members import CLUSTER, DEADLINE, Member, cluster, until  # isort: skip - it patches first

import sys
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import gevent
import redis

from greenchat.bus.cluster import bus as cluster_bus
from greenchat.bus.cluster import failure_detector, nodes
from greenchat.bus.redis import counters
from greenchat.bus.redis.connection import Command, Commands, RedisServer, exchange
from greenchat.bus.redis.registry import RedisRegistry
from greenchat.model.records import Node, Seat
from tests.bus.contract import CONTRACT, guards

STOPPED = 4.0
"""Seconds that a process stands still: longer than a lease and the wait for a sign of life."""

# -- All is well


def contract(url: str) -> None:
    """A Redis bus that is alone keeps the contract of every bus."""
    for place, rule in enumerate(CONTRACT):
        redis.Redis.from_url(url).flushall()
        with cluster(url, f"n{place}") as [one]:
            rule(one.backend, one.listener)
        print(f"kept: {rule.__name__}", file=sys.stderr)


def users_are_seen(url: str) -> None:
    """Who comes, goes, or was there before is known everywhere."""
    with cluster(url, "a", "b") as [a, b]:
        a.login(1, "phone")
        until(lambda: b.sees(1))
        assert set(b.bus.nodes([1, 2])) == {"a"}
        assert list(b.bus.nodes([2])) == []
        late = Member(url, "c")
        until(lambda: late.sees(1))
        a.login(1)
        until(lambda: not b.sees(1) and not late.sees(1))
        late.bus.close()


class Asking(Commands):
    """Asks Redis on a connection of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(RedisServer(url))
        self._line = RedisServer(url).connect(DEADLINE)

    def ask(self, *commands: Command) -> list[Any]:
        return exchange(self._line, *commands)


def who_was_there_before_a_new_start_is_not_there_any_more(url: str) -> None:
    """Who is online at a node is asked of one incarnation of it."""
    with cluster(url, "a") as [a]:
        a.login(1, "phone")
        registry = RedisRegistry(RedisServer(url), Asking(url))
        registry.open(CLUSTER, "z")
        users = registry.users
        assert users(Node("a", 1)) == {1}
        assert users(Node("a", 2)) is None
        assert users(Node("b", 1)) is None


def devices_are_claimed(url: str) -> None:
    """Who claims a user is told of the user's devices at the other nodes."""
    with cluster(url, "a", "b") as [a, b]:
        assert a.login(1, "phone", "pad") == []
        assert sorted(b.login(1, "phone")) == [Seat("a", "pad"), Seat("a", "phone")]
        assert a.login(1, "pad") == [Seat("b", "phone")]
        assert a.login(1) == [Seat("b", "phone")]
        assert b.login(1, "phone") == []


def one_of_two_is_told(url: str) -> None:
    """Of two nodes that claim the same device at a time, one at least is told of the other."""
    with cluster(url, "a", "b") as members:
        for userid in range(1, 200):
            claims = [gevent.spawn(member.login, userid, "phone") for member in members]
            gevent.joinall(claims, raise_error=True)
            assert any(claim.value for claim in claims)


def events_come_in_order(url: str) -> None:
    """Events reach the nodes they are for, all and in order, whatever is in them."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        events = [f"{number}".encode() * (number % 7) + b'\n{"\0' for number in range(3000)]
        for place, event in enumerate(events):
            a.bus.send(["b"], event)
            if place % 100 == 0:
                gevent.sleep(0)
        a.bus.wait_acknowledged()
        assert b.listener.events == events
        assert c.listener.events == []


def all_is_taken_once_it_is_acknowledged(url: str) -> None:
    """``wait_acknowledged`` returns when the others have taken what was sent, and not before."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        for number in range(5):
            a.tell(b"%d" % number)
            a.login(number, "phone")
            a.bus.wait_acknowledged()
            for other in (b, c):
                assert other.listener.events[-1] == b"%d" % number
                assert other.sees(number)


def two_databases_are_two_clusters(url: str) -> None:
    """Redis does not part channels by database; we do."""
    with cluster(url + "/0", "a", "b") as [a, _], cluster(url + "/1", "a", "b") as [other, listening]:
        a.login(1, "phone")
        a.tell(b"event")
        a.bus.wait_acknowledged()
        other.bus.wait_acknowledged()
        assert not listening.sees(1)
        assert listening.listener.events == []


def strangers_on_the_channel_are_ignored(url: str) -> None:
    """What is no frame does no harm."""
    with cluster(url, "a", "b") as [a, b]:
        for rubbish in (b"", b"hello", b"{}", b"\xff\xfe", b"[" * 100_000):
            redis.Redis.from_url(url).publish(f"greenchat:{CLUSTER}:0:b", rubbish)
        a.tell(b"event")
        until(lambda: b.listener.events == [b"event"])


# -- Nodes come and go


def one_that_leaves_is_forgotten_at_once(url: str) -> None:
    """Its last events arrive; one of the others cleans up; its lease is gone."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        a.login(1, "phone")
        a.bus.wait_acknowledged()
        a.tell(b"last")
        a.bus.close()
        until(lambda: b.listener.events == c.listener.events == [b"last"])
        assert not b.sees(1)
        assert b.login(1, "phone") == []
        until(lambda: b.listener.buried + c.listener.buried)
        gevent.sleep(2 * nodes.RETURN)
        assert b.listener.buried + c.listener.buried == [a.node]


def a_dead_one_is_buried_once(url: str) -> None:
    """Its users can be claimed when its lease is over, and are cleaned up after by one of the others."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        a.login(1, "phone")
        a.bus.wait_acknowledged()
        caught_up = b.listener.caught_up, c.listener.caught_up
        a.die()
        assert b.login(1, "phone") == [Seat("a", "phone")]
        until(lambda: b.login(1, "phone") == [])
        until(lambda: b.listener.buried + c.listener.buried)
        until(lambda: not {*c.bus.nodes([1])} - {"b"})
        gevent.sleep(2 * failure_detector.GRACE)
        assert b.listener.buried + c.listener.buried == [a.node]
        assert b.listener.caught_up > caught_up[0]
        assert c.listener.caught_up > caught_up[1]
        assert redis.Redis.from_url(url).hkeys(f"greenchat:{CLUSTER}:nodes") == [b"b", b"c"]


def a_dead_one_is_buried_when_the_database_is_back(url: str) -> None:
    """By who began: nobody else knows its users any more."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        a.login(1, "phone")
        a.bus.wait_acknowledged()
        b.listener.failing = c.listener.failing = True
        a.die()
        until(lambda: b.listener.failed + c.listener.failed > 2)
        b.listener.failing = c.listener.failing = False
        until(lambda: b.listener.buried + c.listener.buried)
        assert b.listener.buried + c.listener.buried == [a.node]


def one_of_the_past_is_buried(url: str) -> None:
    """A node that only the database remembers is cleaned up after."""
    a = Member(url, "a", others=(Node("old", 5), Node("a", 0)))
    until(lambda: a.listener.buried)
    assert a.listener.buried == [Node("old", 5)]
    a.bus.close()


def one_that_is_started_anew_is_met_anew(url: str) -> None:
    """Who does not come back with it is gone."""
    with cluster(url, "a", "b") as [a, b]:
        a.login(1, "phone")
        a.bus.wait_acknowledged()
        a.die()
        again = Member(url, "a", incarnation=2)
        until(lambda: not b.sees(1))
        again.login(2, "phone")
        until(lambda: b.sees(2))
        until(lambda: b.listener.buried)
        assert b.listener.buried == [a.node]
        b.tell(b"event")
        until(lambda: again.listener.events == [b"event"])
        again.bus.close()


def the_older_of_two_of_a_name_ends(url: str) -> None:
    """A name is for one node."""
    with cluster(url, "a", "b") as [a, _]:
        again = Member(url, "a", incarnation=2)
        until(lambda: a.listener.ended)
        assert not again.listener.ended
        again.bus.close()


def one_that_was_stopped_takes_its_lease_again(url: str) -> None:
    """And looks into the database: its users may be elsewhere by now."""
    with cluster(url, "b") as [b], ExitStack() as ends:
        with patch.multiple(cluster_bus, TICK=STOPPED, PULSE=STOPPED):  # nothing renews its lease for so long
            a = Member(url, "a")
        ends.callback(a.bus.close)
        a.login(1, "phone")
        until(lambda: b.listener.buried)
        caught_up = a.listener.caught_up
        until(lambda: b.sees(1))
        until(lambda: a.listener.caught_up > caught_up)
        assert a.listener.buried == []


# -- Attempts


def attempts_are_counted_on_all_nodes(url: str) -> None:
    """However many are tried at the same time, wherever: one more than is allowed, and then it is locked."""
    with cluster(url, "a", "b", "c") as members:
        those = guards("account", "address", allowed=3)

        def guess(place: int) -> str:
            shared, name = members[place % 3].counters, f"{place}"
            while (left := shared.begin_attempt(those, name)) is None:
                gevent.sleep(0.01)
            if left:
                return "locked"
            gevent.sleep(0.02)
            shared.end_attempt(those, name, right=False)
            return "wrong"

        guesses = [gevent.spawn(guess, place) for place in range(60)]
        gevent.joinall(guesses, raise_error=True)
        assert [guess.value for guess in guesses].count("wrong") == 4
        assert members[0].counters.begin_attempt(guards("other"), "n") == 0


def an_attempt_of_a_dead_node_ends(url: str) -> None:
    """Its place is free when the time of an attempt is over."""
    with cluster(url, "a", "b") as [a, b], patch.object(counters, "UNDER_WAY", 0.3):
        those = guards("account", allowed=0)
        assert a.counters.begin_attempt(those, "n") == 0
        assert b.counters.begin_attempt(those, "n2") is None
        a.die()
        until(lambda: b.counters.begin_attempt(those, "n2") == 0)


if __name__ == "__main__":
    with gevent.Timeout(2 * DEADLINE):
        globals()[sys.argv[1]](sys.argv[2])
