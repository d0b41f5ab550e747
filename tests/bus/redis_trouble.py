"""What test_redis.py runs in a monkey-patched process: ``python -m tests.bus.redis_trouble NAME URL``.

Redis is away, refuses, comes back different, or is shared: all is as before when it is over.
"""

from tests.bus.members import CLUSTER, DEADLINE, Member, ask, cluster, until  # isort: skip - it patches first

import logging
import sys
from collections.abc import Callable
from contextlib import suppress

import gevent
import redis

from greenchat.bus import open_backend
from greenchat.bus.cluster import failure_detector
from greenchat.errors import Busy
from greenchat.model.records import Node, Seat
from tests.bus.contract import Loader, guards

PAUSE = 1500
"""Milliseconds that Redis answers nobody; it lets no lease run out meanwhile."""


def a_lost_subscription_is_noticed(url: str) -> None:
    """Whoever was cut off catches up after the last loss, however often."""
    with cluster(url, "a", "b") as [a, b]:
        admin = redis.Redis.from_url(url)
        sent = 0
        for _ in range(10):
            admin.client_kill_filter(_type="pubsub")
            for _ in range(50):
                a.tell(b"%d" % sent)
                sent += 1
            gevent.sleep(0.01)
        before = b.listener.caught_up
        got = [int(event) for event in b.listener.events]
        assert got == sorted(set(got))
        until(lambda: not b.bus.away)
        # The last kill may not have been noticed yet, and this be lost as well.

        def last_comes() -> bool:
            a.tell(b"last")
            return b.listener.events[-1:] == [b"last"]

        until(last_comes)
        assert len(got) == sent or b.listener.caught_up > before or before > 10
        a.login(1, "phone")
        until(lambda: b.sees(1))


def all_know_who_is_where_after_many_losses(url: str) -> None:
    """Subscriptions and Redis's data are lost while users come and go, and a node dies and comes back."""
    with cluster(url, "a", "b", "c") as [a, b, first]:
        c = first
        admin = redis.Redis.from_url(url)
        for number in range(90):
            admin.client_kill_filter(_type="pubsub")
            if number % 3 == 0:
                admin.flushall()
            if number == 60:
                c.die()
                c = Member(url, "c", 2)
            for member in (a, c):
                with suppress(Busy):
                    member.login(number % 7, *["phone"][number // 7 % 2 :])
            gevent.sleep(0.01)
        until(lambda: not any(member.bus.away for member in (a, b, c)))
        everybody = range(7)
        until(lambda: b.bus.online(everybody) == {*a.listener.here, *c.listener.here})
        until(lambda: c.bus.online(everybody) == {*a.listener.here})
        c.bus.close()


def redis_may_restart(url: str) -> None:
    """While it is away that is known, and all is as before when it is back."""
    with cluster(url, "a", "b") as [a, b]:
        a.login(1, "phone")
        a.bus.wait_acknowledged()
        ask("kill")
        until(lambda: a.bus.away and b.bus.away)
        try:
            b.login(1, "pad")
        except Busy:
            pass
        else:
            raise AssertionError("nobody can know")
        assert b.friends.are_friends(1, [2], lambda: [2]) == {2}
        b.friends.forget_friends(1)
        b.bus.wait_acknowledged()
        a.tell(b"lost")
        caught_up = b.listener.caught_up
        until(lambda: b.listener.caught_up > caught_up + 2)
        ask("start")
        until(lambda: not a.bus.away and not b.bus.away)
        until(lambda: a.sees(1))
        assert b.login(1, "pad") == [Seat("a", "phone")]
        a.tell(b"event")
        until(lambda: b.listener.events == [b"event"])
        assert a.listener.buried == b.listener.buried == []


def who_comes_while_it_is_away_is_known_afterwards(url: str) -> None:
    """Also if the lease outlived it: then nothing but the claim itself is missing."""
    with cluster(url, "a", "b") as [a, b]:
        known: list[bool] = []
        a.listener.catch_up = lambda: known.append(b.sees(1))  # type: ignore[method-assign]
        redis.Redis.from_url(url).client_pause(PAUSE)
        until(lambda: a.bus.away)
        try:
            a.login(1, "phone")
        except Busy:
            pass
        else:
            raise AssertionError("nobody was told")
        until(lambda: True in known)
        assert b.login(1, "pad") == [Seat("a", "phone")]
        assert a.listener.buried == b.listener.buried == []


def redis_may_hang(url: str) -> None:
    """One that is stopped is away too."""
    with cluster(url, "a", "b") as [a, b]:
        ask("SIGSTOP")
        until(lambda: a.bus.away)
        ask("SIGCONT")
        until(lambda: not a.bus.away and not b.bus.away)
        a.tell(b"event")
        until(lambda: b.listener.events[-1:] == [b"event"])
        gevent.sleep(2 * failure_detector.GRACE)
        assert a.listener.buried == b.listener.buried == []


def redis_may_forget_all(url: str) -> None:
    """The nodes fill it again, and nobody is taken for dead."""
    with cluster(url, "a", "b") as [a, b]:
        a.login(1, "phone")
        a.bus.wait_acknowledged()
        redis.Redis.from_url(url).flushall()
        until(lambda: b.login(1, "pad") == [Seat("a", "phone")])
        assert b.sees(1)
        gevent.sleep(2 * failure_detector.GRACE)
        assert a.listener.buried == b.listener.buried == []
        assert redis.Redis.from_url(url).ttl(f"greenchat:{CLUSTER}:node:a") >= 0


def redis_may_come_back_older(url: str) -> None:
    """With leases from before: logins and logouts that it has lost are written again, and read."""
    with cluster(url, "a", "b") as [a, b]:
        admin = redis.Redis.from_url(url)
        a.login(1, "phone")
        a.bus.wait_acknowledged()
        for member in (a, b):  # or they would be over when it starts again
            admin.pexpire(f"greenchat:{CLUSTER}:node:{member.node.name}", 60_000)
        admin.save()
        a.login(1)
        a.login(2, "phone")
        a.bus.wait_acknowledged()
        ask("kill")
        ask("start")
        until(lambda: not a.bus.away and not b.bus.away)
        assert b.login(1, "phone") == []
        assert b.login(2, "phone") == [Seat("a", "phone")]
        until(lambda: b.sees(2) and not b.sees(1))
        admin.flushall()
        admin.save()


def friends_are_read_anew_after_a_new_connection(url: str) -> None:
    """Redis, or the database, may have been restored: what was kept before does not count."""
    with cluster(url, "a", "b") as [a, b]:
        load = Loader(2)
        assert b.friends.are_friends(1, [2, 3], load) == {2}
        until(lambda: _calls(b, load) == 0)
        load.friends = [3]
        a.bus.close()
        again = Member(url, "a", incarnation=2)
        for member in (b, again):
            assert member.friends.are_friends(1, [2, 3], load) == {3}
        again.bus.close()


def _calls(member: Member, load: Loader) -> int:
    """Return how often the friends of user 1 are read for one question."""
    before = load.calls
    member.friends.are_friends(1, [2, 3], load)
    return load.calls - before


def _is_told(member: Member, cause: str) -> bool:
    return member.bus.away and cause in member.bus.trouble


def _refuses(url: str, cause: str, refuse: Callable[[redis.Redis], object], mend: str) -> None:
    """While Redis refuses writes it counts as away, with its words; afterwards all is as before."""
    with cluster(url, "a", "b") as [a, b]:
        refuse(redis.Redis.from_url(url))
        try:
            until(lambda: _is_told(a, cause) and _is_told(b, cause))
            try:
                a.login(1, "phone")
            except Busy:
                pass
            else:
                raise AssertionError("it cannot be written")
            caught_up = b.listener.caught_up
            until(lambda: b.listener.caught_up > caught_up + 2)
        finally:
            redis.Redis.from_url(url).execute_command(*mend.split())  # type: ignore[no-untyped-call]
        until(lambda: not a.bus.away and not b.bus.away)
        until(lambda: b.sees(1))
        assert b.login(1, "pad") == [Seat("a", "phone")]
        assert a.bus.trouble == b.bus.trouble == ""
        gevent.sleep(2 * failure_detector.GRACE)
        assert a.listener.buried == b.listener.buried == []


def redis_may_be_full(url: str) -> None:
    """OOM: it takes PUBLISH, and renews leases."""
    _refuses(url, "maxmemory", lambda admin: admin.config_set("maxmemory", 1), "CONFIG SET maxmemory 0")


def redis_may_have_been_demoted(url: str) -> None:
    """READONLY: it answers all questions, and delivers what is published there."""
    _refuses(url, "replica", lambda admin: admin.replicaof("127.0.0.1", "1"), "REPLICAOF NO ONE")


def redis_may_lack_replicas(url: str) -> None:
    """NOREPLICAS: a primary that was cut off."""
    _refuses(
        url,
        "replicas",
        lambda admin: admin.config_set("min-replicas-to-write", 1),
        "CONFIG SET min-replicas-to-write 0",
    )


def a_refusal_is_told_once(url: str) -> None:
    """One line when it begins and one when it ends, however long it lasts."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("greenchat.bus").addHandler(handler)
    with cluster(url, "a") as [a]:
        admin = redis.Redis.from_url(url)
        admin.config_set("maxmemory", 1)
        until(lambda: told)
        caught_up = a.listener.caught_up
        until(lambda: a.listener.caught_up > caught_up + 10)
        admin.config_set("maxmemory", 0)
        until(lambda: told[-1] == "the bus works again")
        assert len(told) == 2, told
        assert "maxmemory" in told[0]


def a_node_that_only_the_database_shows_is_cleaned_up_after(url: str) -> None:
    """Redis has lost it, and nobody was there when it died."""
    with cluster(url, "a", "b") as [a, b]:
        lost = Node("lost", 5)
        a.listener.shown = b.listener.shown = [a.node, b.node, lost]
        until(lambda: a.listener.buried + b.listener.buried)
        a.listener.shown = b.listener.shown = [a.node, b.node]
        gevent.sleep(2 * failure_detector.GRACE)
        assert a.listener.buried + b.listener.buried == [lost]
        assert not a.bus.away
        assert not b.bus.away


def a_node_on_another_redis_is_noticed(url: str) -> None:
    """The database shows it again after it was cleaned up after: until that ends, all is to be looked up."""
    with cluster(url, "a") as [a]:
        a.listener.shown = [Node("far", 5)]
        until(lambda: _is_told(a, "another Redis: far"))
        assert a.listener.buried == [Node("far", 5)]
        a.listener.shown = []
        until(lambda: not a.bus.away)
        assert a.bus.trouble == ""


def two_installations_do_not_meet(url: str) -> None:
    """On one Redis, with the same names of nodes: the id of the database parts them."""
    with cluster(url, "a", "b") as [a, b], cluster(url, "a", "b", id="another") as [other, listening]:
        a.login(1, "phone")
        a.tell(b"event")
        assert b.counters.count("wrong", 60) == 1
        those = guards("name", allowed=0)
        assert b.counters.begin_attempt(those, "n") == 0
        assert b.counters.end_attempt(those, "n", right=False) == [1]
        a.bus.wait_acknowledged()
        other.bus.wait_acknowledged()
        assert not listening.sees(1)
        assert listening.login(1, "phone") == []
        assert listening.listener.events == []
        assert listening.counters.count("wrong", 60) == 1
        assert listening.counters.begin_attempt(those, "n") == 0
        assert not a.listener.ended


def the_last_incarnation_is_known(url: str) -> None:
    """Of a node that crashed, and for as long as it is not cleaned up after."""
    bus = open_backend(url).bus
    assert bus.open(CLUSTER, "a") == 0
    with cluster(url, "b") as [b]:
        Member(url, "a", incarnation=7).die()
        assert bus.open(CLUSTER, "a") == 7
        assert bus.open("another", "a") == 0
        until(lambda: b.listener.buried)
        assert b.listener.buried == [Node("a", 7)]


if __name__ == "__main__":
    with gevent.Timeout(2 * DEADLINE):
        globals()[sys.argv[1]](sys.argv[2])
