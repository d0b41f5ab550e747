"""What test_redis.py runs in a monkey-patched process: ``python -m tests.bus.redis_scenarios NAME URL``.

A scenario asks its test to do something to the server by a line on stdout, and goes on at the answer.
"""

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402 - nothing may be imported before it is patched
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import ExitStack, contextmanager  # noqa: E402
from time import monotonic  # noqa: E402
from unittest.mock import patch  # noqa: E402

import gevent  # noqa: E402
import redis  # noqa: E402

from greenchat.bus import lookout, shared  # noqa: E402
from greenchat.bus import redis as redis_bus  # noqa: E402
from greenchat.bus.redis import RedisBus  # noqa: E402
from greenchat.errors import Busy  # noqa: E402
from greenchat.ports import Node, Seat  # noqa: E402
from tests.bus.contract import CONTRACT, Loader, Recorder, guards  # noqa: E402

DEADLINE = 30.0
"""Seconds that anything may take: generous, because nothing waits for it when all is well."""

CLUSTER = "0123456789abcdef"
"""The id of the nodes' database."""

# A fifth of what they are, so that nobody waits long.
redis_bus.LEASE, redis_bus.TICK, redis_bus.STEADY, redis_bus.COMPARE = 1.0, 0.2, 0.2, 0.2
lookout.GRACE, lookout.RETURN, lookout.TRY_AGAIN = 0.8, 0.3, 0.2


def ask(request: str) -> None:
    """Ask the test to do something to the server, and wait until it is done."""
    print(request, flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.readline)


def until(ready: Callable[[], object]) -> None:
    """Wait for something."""
    end = monotonic() + DEADLINE
    while not ready():
        assert monotonic() < end, "it does not come"
        gevent.sleep(0.01)


class Member:
    """A node of the cluster.

    Args:
        url: of Redis.
        name, incarnation: of the node.
        others: nodes that the database shows.
        cluster: the id that the database has.
    """

    def __init__(
        self,
        url: str,
        name: str,
        incarnation: int = 1,
        others: tuple[Node, ...] = (),
        cluster: str = CLUSTER,
    ) -> None:
        self.node = Node(name, incarnation)
        self.listener = Recorder()
        self.bus = RedisBus(url)
        self.bus.open(cluster, name)
        self.bus.start(self.node, self.listener, others)

    def login(self, userid: int, *devices: str) -> list[Seat]:
        """Have a user online here with these devices (none: offline), and return where else."""
        if devices:
            self.listener.here[userid] = list(devices)
        else:
            self.listener.here.pop(userid, None)
        return self.bus.refresh(userid)

    def sees(self, userid: int) -> bool:
        return self.bus.online([userid]) == {userid}

    def tell(self, event: bytes) -> None:
        self.bus.send(self.bus.nodes(), event)

    def die(self) -> None:
        """End as a SIGKILL would end it."""
        gevent.killall(self.bus._keepers)
        self.bus._subscription.close()
        self.bus._commands._closing = True
        gevent.kill(self.bus._commands._greenlet)
        self.bus._commands._disconnect()
        self.bus._open = False


@contextmanager
def cluster(url: str, *names: str, id: str = CLUSTER) -> Iterator[list[Member]]:
    """Run nodes that know each other."""
    with ExitStack() as ends:
        members = []
        for name in names:
            members.append(Member(url, name, cluster=id))
            ends.callback(members[-1].bus.close)
        until(lambda: all(len(member.bus.nodes()) == len(names) - 1 for member in members))
        for member in members:
            member.bus.settle()
        until(lambda: all(peer.acked is not None for member in members for peer in member.bus._peers))
        yield members


# -- All is well


def contract(url: str) -> None:
    """A Redis bus that is alone keeps the contract of every bus."""
    for place, rule in enumerate(CONTRACT):
        redis.Redis.from_url(url).flushall()
        with cluster(url, f"n{place}") as [one]:
            rule(one.bus, one.listener)
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


def who_was_there_before_a_new_start_is_not_there_any_more(url: str) -> None:
    """Who is online at a node is asked of one incarnation of it."""
    with cluster(url, "a") as [a]:
        a.login(1, "phone")
        users = a.bus._registry.users
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
        a.bus.settle()
        assert b.listener.events == events
        assert c.listener.events == []


def all_is_taken_when_it_is_settled(url: str) -> None:
    """``settle`` returns when the others have taken what was sent, and not before."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        for number in range(5):
            a.tell(b"%d" % number)
            a.login(number, "phone")
            a.bus.settle()
            for other in (b, c):
                assert other.listener.events[-1] == b"%d" % number
                assert other.sees(number)


def two_databases_are_two_clusters(url: str) -> None:
    """Redis does not part channels by database; we do."""
    with cluster(url + "/0", "a", "b") as [a, _], cluster(url + "/1", "a", "b") as [other, listening]:
        a.login(1, "phone")
        a.tell(b"event")
        a.bus.settle()
        other.bus.settle()
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
        a.bus.settle()
        a.tell(b"last")
        a.bus.close()
        until(lambda: b.listener.events == c.listener.events == [b"last"])
        assert not b.sees(1)
        assert b.login(1, "phone") == []
        until(lambda: b.listener.buried + c.listener.buried)
        gevent.sleep(2 * lookout.RETURN)
        assert b.listener.buried + c.listener.buried == [a.node]


def a_dead_one_is_buried_once(url: str) -> None:
    """Its users can be claimed when its lease is over, and are cleaned up after by one of the others."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        a.login(1, "phone")
        a.bus.settle()
        caught_up = b.listener.caught_up, c.listener.caught_up
        a.die()
        assert b.login(1, "phone") == [Seat("a", "phone")]
        until(lambda: b.login(1, "phone") == [])
        until(lambda: b.listener.buried + c.listener.buried)
        until(lambda: not c.bus.nodes([1]) - {"b"})
        gevent.sleep(2 * lookout.GRACE)
        assert b.listener.buried + c.listener.buried == [a.node]
        assert b.listener.caught_up > caught_up[0]
        assert c.listener.caught_up > caught_up[1]
        assert redis.Redis.from_url(url).hkeys(f"greenchat:{CLUSTER}:nodes") == [b"b", b"c"]


def a_dead_one_is_buried_when_the_database_is_back(url: str) -> None:
    """By who began: nobody else knows its users any more."""
    with cluster(url, "a", "b", "c") as [a, b, c]:
        a.login(1, "phone")
        a.bus.settle()
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
        a.bus.settle()
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
    with cluster(url, "a", "b") as [a, b]:
        a.login(1, "phone")
        a.bus.settle()
        for keeper in a.bus._keepers:
            keeper.kill()
        until(lambda: b.listener.buried)
        caught_up = a.listener.caught_up
        until(lambda: a.bus._greet() or a.bus._tick() or b.sees(1))  # one lease may be over before it is seen
        until(lambda: a.listener.caught_up > caught_up)
        assert a.listener.buried == []


# -- Redis has trouble


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
        until(lambda: a.tell(b"last") or b.listener.events[-1:] == [b"last"])
        assert len(got) == sent or b.listener.caught_up > before or before > 10
        a.login(1, "phone")
        until(lambda: b.sees(1))


def redis_may_restart(url: str) -> None:
    """While it is away that is known, and all is as before when it is back."""
    with cluster(url, "a", "b") as [a, b]:
        a.login(1, "phone")
        a.bus.settle()
        ask("kill")
        until(lambda: a.bus.away and b.bus.away)
        try:
            b.login(1, "pad")
        except Busy:
            pass
        else:
            raise AssertionError("nobody can know")
        assert b.bus.are_friends(1, [2], lambda: [2]) == {2}
        b.bus.forget_friends(1)
        b.bus.settle()
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
        a.listener.catch_up = lambda: known.append(b.sees(1))
        a.bus._pulse.lost("it hangs")  # until the next position
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
        gevent.sleep(2 * lookout.GRACE)
        assert a.listener.buried == b.listener.buried == []


def redis_may_forget_all(url: str) -> None:
    """The nodes fill it again, and nobody is taken for dead."""
    with cluster(url, "a", "b") as [a, b]:
        a.login(1, "phone")
        a.bus.settle()
        redis.Redis.from_url(url).flushall()
        until(lambda: b.login(1, "pad") == [Seat("a", "phone")])
        assert b.sees(1)
        gevent.sleep(2 * lookout.GRACE)
        assert a.listener.buried == b.listener.buried == []
        assert redis.Redis.from_url(url).ttl(f"greenchat:{CLUSTER}:node:a") >= 0


def redis_may_come_back_older(url: str) -> None:
    """With leases from before: logins and logouts that it has lost are written again, and read."""
    with cluster(url, "a", "b") as [a, b]:
        admin = redis.Redis.from_url(url)
        a.login(1, "phone")
        a.bus.settle()
        for member in (a, b):  # or they would be over when it starts again
            admin.pexpire(f"greenchat:{CLUSTER}:node:{member.node.name}", 60_000)
        admin.save()
        a.login(1)
        a.login(2, "phone")
        a.bus.settle()
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
        assert b.bus.are_friends(1, [2, 3], load) == {2}
        until(lambda: _calls(b, load) == 0)
        load.friends = [3]
        a.bus.close()
        again = Member(url, "a", incarnation=2)
        for member in (b, again):
            assert member.bus.are_friends(1, [2, 3], load) == {3}
        again.bus.close()


def _calls(member: Member, load: Loader) -> int:
    """Return how often the friends of user 1 are read for one question."""
    before = load.calls
    member.bus.are_friends(1, [2, 3], load)
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
            redis.Redis.from_url(url).execute_command(*mend.split())
        until(lambda: not a.bus.away and not b.bus.away)
        until(lambda: b.sees(1))
        assert b.login(1, "pad") == [Seat("a", "phone")]
        assert a.bus.trouble == b.bus.trouble == ""
        gevent.sleep(2 * lookout.GRACE)
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
        gevent.sleep(2 * lookout.GRACE)
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


def attempts_are_counted_on_all_nodes(url: str) -> None:
    """However many are tried at the same time, wherever: one more than is allowed, and then it is locked."""
    with cluster(url, "a", "b", "c") as members:
        those = guards("account", "address", allowed=3)

        def guess(place: int) -> str:
            bus, name = members[place % 3].bus, f"{place}"
            while (left := bus.begin_attempt(those, name)) is None:
                gevent.sleep(0.01)
            if left:
                return "locked"
            gevent.sleep(0.02)
            bus.end_attempt(those, name, right=False)
            return "wrong"

        guesses = [gevent.spawn(guess, place) for place in range(60)]
        gevent.joinall(guesses, raise_error=True)
        assert [guess.value for guess in guesses].count("wrong") == 4
        assert members[0].bus.begin_attempt(guards("other"), "n") == 0


def an_attempt_of_a_dead_node_ends(url: str) -> None:
    """Its place is free when the time of an attempt is over."""
    with cluster(url, "a", "b") as [a, b], patch.object(shared, "UNDER_WAY", 0.3):
        those = guards("account", allowed=0)
        assert a.bus.begin_attempt(those, "n") == 0
        assert b.bus.begin_attempt(those, "n2") is None
        a.die()
        until(lambda: b.bus.begin_attempt(those, "n2") == 0)


def two_installations_do_not_meet(url: str) -> None:
    """On one Redis, with the same names of nodes: the id of the database parts them."""
    with cluster(url, "a", "b") as [a, b], cluster(url, "a", "b", id="another") as [other, listening]:
        a.login(1, "phone")
        a.tell(b"event")
        assert b.bus.count("wrong", 60) == 1
        those = guards("name", allowed=0)
        assert b.bus.begin_attempt(those, "n") == 0
        assert b.bus.end_attempt(those, "n", right=False) == [1]
        a.bus.settle()
        other.bus.settle()
        assert not listening.sees(1)
        assert listening.login(1, "phone") == []
        assert listening.listener.events == []
        assert listening.bus.count("wrong", 60) == 1
        assert listening.bus.begin_attempt(those, "n") == 0
        assert not a.listener.ended


def the_last_incarnation_is_known(url: str) -> None:
    """Of a node that crashed, and for as long as it is not cleaned up after."""
    bus = RedisBus(url)
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
