"""What a cluster must survive: the fault table, with the real programs and a load on three nodes.

Each test breaks something under load, looks at what people would see, mends it, and lets the checker
hold every device's record against the table of messages.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic, sleep

import pytest

from lab.faults.proxy import FaultProxy
from lab.fleet import Fleet
from lab.people.device import PASSWORD, Device
from lab.people.load import REG, Load, wait
from lab.people.visit import LOGIN
from lab.rules.checker import latencies
from lab.servers.node import Node
from lab.soak.trial import STATES, Trial
from tests.system.outages import kill_redis, stop_redis
from tests.system.server import DEADLINE, Client, assert_waits, run

HEARTBEAT, TYPING, BYE = 12, 26, 24
ONE_CHAT, CREATE_GROUP, ADD_GROUP, GROUP_CHAT, BLOCK, LEAVE_GROUP = 6, 8, 9, 10, 19, 21
ALREADY_ONLINE, BLOCKED, BUSY = 2, 10, 13

# What issue and protocol name (docs/protocol.md, "In a cluster"):
ELSEWHERE = 10.0
"""Seconds after a node's death in which its users can log in elsewhere without ``force``."""
ACROSS = 4.0
"""Seconds that a message between two nodes may take while Redis is away."""
AS_BEFORE = 5.0
"""Seconds after Redis came back in which all is as before."""
FULL_SPEED = 10.0
"""Seconds after the database came back in which all is as before."""

LEFT = 1.0
"""Seconds after the ACK of leaving in which a group may still be heard at other nodes, without Redis."""

# What they do not name:
AT_ONCE = 5.0
"""Seconds that a login may take which waits for nothing; a password is hashed, on a busy machine."""
BACK = 10.0
"""Seconds, "each client back within seconds"."""
ECHO = 3.0
"""Seconds that a heartbeat may be without its echo."""

NAMES = (f"t{number}." for number in itertools.count(1))
"""How the names of the users of a test begin."""


@pytest.fixture
def trial(fleet: Fleet) -> Iterator[Trial]:
    """A load on a fleet that is whole; at the end the logs tell of no bug and of no password."""
    fleet.heal()
    read = [len(node.log) for node in fleet.nodes]
    load = Load(fleet.aside, fleet.nodes, next(NAMES))
    try:
        load.start()
        trial = Trial(fleet, load)
        trial.wait_for_progress()
        yield trial
    finally:
        load.close()
        fleet.heal()
    for node, before in zip(fleet.nodes, read, strict=True):
        told = node.log[before:]
        assert "Traceback" not in told
        assert "s3cret" not in told
        assert "r3dis" not in told


def assert_right(trial: Trial) -> None:
    """All is in order: the states at once or soon, and then the verdict."""
    trial.wait_for_progress(DEADLINE)
    trial.wait_for_states()
    verdict = trial.verdict()
    assert verdict.violations[:10] == [], verdict
    assert verdict.delivered > verdict.sent > len(trial.load.devices)


# -- What people see


def guest(node: Node) -> tuple[Client, str]:
    """Return somebody who is online at a node, which may be busy after a fault, and their name."""
    name = next(NAMES)
    client = Client(node)
    client.insist(REG, name=name, password="pw")
    ack = client.insist(LOGIN, name=name, password="pw")
    client.id, client.token = ack["id"], ack["token"]
    return client, name


def state_of(fleet: Fleet, userid: int) -> tuple[str, str | None]:
    state, node = fleet.rows(f"SELECT state, node FROM User WHERE id = {userid}")[0]
    return state, node


def beat(*clients: Client) -> None:
    for client in clients:
        client.ask(HEARTBEAT)


def beat_until(end: float, *clients: Client) -> None:
    """Let clients live until a time; each of their heartbeats is answered soon."""
    while (now := monotonic()) < end:
        beat(*clients)
        assert monotonic() - now < ECHO
        sleep(0.5)


def login_errno(node: Node, **fields: object) -> int:
    """Return what a login without ``force`` gets; one that succeeds is over at once."""
    with Client(node) as client:
        errno: int = client.ask(LOGIN, **fields)["errno"]
        return errno


def is_refused_elsewhere(trial: Trial, device: Device) -> bool:
    """Whether a device that is online cannot log in at another node."""
    other = next(node for node in trial.fleet.nodes if node.node != device.node)
    record = device.record
    return login_errno(other, name=device.name, password=PASSWORD, device=record.device) == ALREADY_ONLINE


def wait_for_typing(one: Client, other: Client, deadline: float) -> float:
    """Wait until what is only of the moment goes from one node to the other: the database has no TYPING."""

    def arrives() -> bool:
        one.send(TYPING, toid=other.id)
        beat(one, other)
        return any(frame["msgid"] == TYPING for frame in other.frames)

    return wait(arrives, "TYPING at another node", deadline)


def assert_nobody_left(trial: Trial) -> None:
    """Every device is on its first connection: it was not evicted, nor did it give the server up."""
    assert ends(trial) == set()


def ends(trial: Trial) -> set[tuple[str, str]]:
    """Return why connections of the load ended, and where."""
    return {
        (link.reason, link.node) for record in trial.load.records for link in record.connections if link.ended
    }


def slowest(trial: Trial, after: float, before: float = float("inf")) -> float:
    """Return the longest time that a message to another node took, of those sent in this time."""
    found = latencies(trial.load.records, [(after, before)])
    assert found, "nothing went from node to node"
    return found[-1]


# -- Nodes


def test_sigkill_of_a_node_locks_nobody_out_and_leaves_no_ghost(trial: Trial) -> None:
    fleet = trial.fleet
    first, second, third = fleet.nodes
    (forced, name), (by_token, _), (patient, patience), (gone, _) = [guest(first) for _ in range(4)]
    first.kill()
    dead = monotonic()
    with Client(second) as client:
        client.login(name=name, password="pw", force=True)
    with Client(third) as client:
        client.login(token=by_token.token, force=True)
    assert monotonic() - dead < AT_ONCE
    refusals = set()

    def is_let_in() -> bool:
        refusals.add(login_errno(second, name=patience, password="pw"))
        return 0 in refusals

    wait(is_let_in, "a login without force", dead + ELSEWHERE - monotonic())
    assert refusals <= {0, ALREADY_ONLINE}
    offline = ("offline", None)
    wait(lambda: state_of(fleet, gone.id) == offline, "no ghost", dead + STATES - monotonic())
    trial.wait_for_states(dead + STATES - monotonic())
    assert all(state_of(fleet, one.id) == offline for one in (forced, by_token, patient))
    first.start()
    assert_right(trial)


def test_sigint_of_a_node_says_when_to_come_back_and_touches_nobody_else(trial: Trial) -> None:
    fleet = trial.fleet
    first, second, _ = fleet.nodes
    (here, _), (there, _) = guest(first), guest(second)
    leaving = [device.record for device in trial.load.devices if device.node == first.node]
    staying = [device.record for device in trial.load.devices if device.node != first.node]
    first.interrupt()
    assert state_of(fleet, here.id) == ("offline", None)
    assert state_of(fleet, there.id) == ("online", second.node)
    assert [frame["reason"] for frame in here.ended() if frame["msgid"] == BYE] == ["shutdown"]
    wait(lambda: all(device.online for device in trial.load.devices), "everybody is back", BACK)
    told = [record.connections[0] for record in leaving]
    assert {link.reason for link in told} == {"bye shutdown"}
    pauses = [link.retry_after for link in told]
    assert min(pauses) >= 0
    assert max(pauses) > min(pauses), "all are told to come back at once"
    assert {len(record.connections) for record in staying} == {1}
    beat(there)
    first.start()
    assert_right(trial)


def test_a_node_that_was_stopped_takes_itself_out_and_in_again(trial: Trial) -> None:
    fleet = trial.fleet
    first, second, _ = fleet.nodes
    (old, name), (friend, _) = guest(first), guest(second)
    first.freeze()
    stopped = monotonic()
    with Client(second) as moved:
        wait(
            lambda: moved.ask(LOGIN, name=name, password="pw")["errno"] == 0,
            "a login without force",
            stopped + ELSEWHERE - monotonic(),
        )
        moved.id = old.id
        friend.done(ONE_CHAT, toid=old.id, msg="where are you?")
        beat_until(stopped + 15, moved, friend)
        first.thaw()
        assert [frame for frame in old.ended() if "seq" in frame] == [], "a user in two places"
        beat(moved, friend)
        assert [frame["seq"] for frame in moved.frames if frame["msgid"] == ONE_CHAT] == [1]
        assert state_of(fleet, old.id) == ("online", second.node)
        again, _ = guest(first)
        wait_for_typing(again, moved, DEADLINE)
        wait_for_typing(moved, again, DEADLINE)
    assert_right(trial)


def test_a_rolling_restart_has_each_client_back_within_seconds(trial: Trial) -> None:
    for node in trial.fleet.nodes:
        node.interrupt()
        node.start()
        trial.wait_for_progress(BACK)
    assert_right(trial)
    away = [
        later.began - link.ended
        for record in trial.load.records
        for link, later in itertools.pairwise(record.connections)
    ]
    assert away
    assert max(away) < BACK


# -- Redis


@pytest.mark.parametrize("take_away", [kill_redis, pytest.param(stop_redis, marks=pytest.mark.long)])
def test_redis_is_away_for_ten_seconds(
    trial: Trial, take_away: Callable[[Fleet], Callable[[], None]]
) -> None:
    device = trial.load.devices[0]
    away = monotonic()
    bring_back = take_away(trial.fleet)
    assert is_refused_elsewhere(trial, device), "logins are checked against the database"
    sleep(max(0.0, away + 10 - monotonic()))
    bring_back()
    back = monotonic()
    (one, _), (other, _) = guest(trial.fleet.nodes[0]), guest(trial.fleet.nodes[1])
    wait_for_typing(one, other, back + AS_BEFORE - monotonic())
    wait_for_typing(other, one, back + AS_BEFORE - monotonic())
    sleep(max(0.0, back + AS_BEFORE - monotonic()))
    assert is_refused_elsewhere(trial, device)
    assert_right(trial)
    assert_nobody_left(trial)
    assert slowest(trial, away) < ACROSS
    assert slowest(trial, back + AS_BEFORE) < 1, "not as before"


@pytest.mark.parametrize("take_away", [kill_redis, pytest.param(stop_redis, marks=pytest.mark.long)])
def test_leaving_and_blocking_count_elsewhere_while_redis_is_away(
    fleet: Fleet, take_away: Callable[[Fleet], Callable[[], None]]
) -> None:
    fleet.heal()
    here, there = fleet.nodes[:2]
    (ann, _), (bob, name) = guest(there), guest(there)
    phone = Client(here)
    userid = phone.login(name=name, password="pw", device="phone")["id"]
    groupid = ann.done(CREATE_GROUP, groupname=next(NAMES))["groupid"]
    bob.done(ADD_GROUP, groupid=groupid)
    ann.done(GROUP_CHAT, groupid=groupid, msg="before")
    bob.wait(msg="before")
    bring_back = take_away(fleet)
    try:
        phone.done(LEAVE_GROUP, groupid=groupid)
        left = monotonic()
        phone.done(BLOCK, userid=ann.id)
        assert ann.ask(ONE_CHAT, toid=userid, msg="x")["errno"] == BLOCKED
        sent = []
        while monotonic() < left + 3 * LEFT:
            sent.append(f"{monotonic() - left}")
            ann.done(GROUP_CHAT, groupid=groupid, msg=sent[-1])
            beat(bob, phone)
    finally:
        bring_back()
    heard = [float(frame["msg"]) for frame in bob.frames if frame.get("msg") in sent]
    assert max(heard, default=0.0) <= LEFT, f"{len(heard)} of {len(sent)}"


def test_subscribers_of_redis_are_killed_in_a_loop(trial: Trial) -> None:
    began = monotonic()
    killed = 0
    with closing(trial.fleet.redis.connect()) as client:
        while monotonic() < began + 5:
            killed += client.client_kill_filter(_type="pubsub")
            sleep(0.1)
    assert killed > len(trial.fleet.nodes)
    (one, _), (other, _) = guest(trial.fleet.nodes[0]), guest(trial.fleet.nodes[1])
    wait_for_typing(one, other, AS_BEFORE)
    wait_for_typing(other, one, AS_BEFORE)
    assert_right(trial)
    assert_nobody_left(trial)
    assert slowest(trial, began) < ACROSS


def test_redis_forgets_everything_and_is_filled_again(trial: Trial) -> None:
    (one, _), (other, _) = guest(trial.fleet.nodes[0]), guest(trial.fleet.nodes[1])
    wait_for_typing(one, other, DEADLINE)
    other.frames.clear()
    with closing(trial.fleet.redis.connect()) as client:
        client.flushall()
    empty = monotonic()
    wait_for_typing(one, other, AS_BEFORE)
    wait_for_typing(other, one, AS_BEFORE)
    sleep(max(0.0, empty + AS_BEFORE - monotonic()))
    assert all(is_refused_elsewhere(trial, device) for device in trial.load.devices[:4])
    assert_right(trial)
    assert_nobody_left(trial)
    assert slowest(trial, empty) < ACROSS


# -- MariaDB


def kill_mariadb(fleet: Fleet) -> Callable[[], None]:
    fleet.mariadb.kill()
    return fleet.mariadb.start


def stop_mariadb(fleet: Fleet) -> Callable[[], None]:
    fleet.mariadb.signal(signal.SIGSTOP)
    return lambda: fleet.mariadb.signal(signal.SIGCONT)


@pytest.mark.parametrize("take_away", [kill_mariadb, pytest.param(stop_mariadb, marks=pytest.mark.long)])
def test_the_database_is_away_for_ten_seconds(
    trial: Trial, take_away: Callable[[Fleet], Callable[[], None]]
) -> None:
    # Who writes to somebody for the first time waits for the database, with all that they send after it.
    wait(lambda: everybody_has_written_everywhere(trial), "a message to each conversation")
    before = answered(trial, 2)
    idle, name = guest(trial.fleet.nodes[0])
    away = monotonic()
    bring_back = take_away(trial.fleet)
    beat_until(away + 5, idle)
    assert login_errno(trial.fleet.nodes[1], name=name, password="pw") == BUSY
    beat_until(away + 10, idle)
    bring_back()
    trial.wait_for_progress(FULL_SPEED)
    assert answered(trial, 2) > before / 2, "not at full speed"
    assert_right(trial)
    assert_nobody_left(trial)


def everybody_has_written_everywhere(trial: Trial) -> bool:
    """Whether each device had a message acknowledged in each of its conversations."""
    return all(
        record.conversations
        <= {message.conversation for message in list(record.sent.values()) if message.acks}
        for record in trial.load.records
    )


def answered(trial: Trial, seconds: float) -> int:
    """Return how many messages are acknowledged in a time in which all devices write as ever."""
    began = monotonic()
    sleep(seconds)
    times = [
        message.acks[0][1]
        for record in trial.load.records
        for message in list(record.sent.values())
        if message.acks
    ]
    return sum(time >= began for time in times)


# -- The network, between one node and one backend

FAULTS: list[tuple[str, float, Callable[[FaultProxy], None]]] = [
    ("latency", 3, lambda line: line.delay(0.1)),
    ("a narrow line", 3, lambda line: line.throttle(30_000)),
    ("a cut", 7, lambda line: line.cut()),
    ("silence", 7, lambda line: line.stall()),
    ("a half-open connection", 7, lambda line: line.swallow()),
]


@pytest.mark.parametrize("backend", ["redis", pytest.param("mariadb", marks=pytest.mark.long)])
def test_one_node_has_a_bad_line(trial: Trial, backend: str) -> None:
    line = getattr(trial.fleet, f"to_{backend}")[0]
    began = monotonic()
    for _name, seconds, fault in FAULTS:
        fault(line)
        sleep(seconds)
        line.heal()
        trial.wait_for_progress(FULL_SPEED)
    assert_right(trial)
    if backend == "redis":
        # A node whose lease ran out was taken for dead: its clients may be told to come back.
        assert ends(trial) <= {("bye shutdown", "n1")}
        # The others cannot know at once that it is not Redis that is away, but this one.
        assert slowest(trial, began) < 2 * ACROSS
    else:
        assert_nobody_left(trial)


# -- At the start

BACKENDS = {"redis": ("--bus", "Redis"), "mariadb": ("--store", "database")}


Alone = tuple[dict[str, FaultProxy], tuple[object, ...]]


@pytest.fixture
def alone(fleet: Fleet) -> Iterator[Alone]:
    """The lines of a fourth node, and its arguments."""
    fleet.heal()
    with ExitStack() as ends:
        lines = {
            name: ends.enter_context(closing(FaultProxy(fleet.aside, port)))
            for name, port in (("redis", fleet.redis.port), ("mariadb", fleet.mariadb.port))
        }
        store = fleet.mariadb.url(fleet.database, lines["mariadb"].port)
        bus = fleet.redis.url(lines["redis"].port)
        yield lines, (0, "--node", "n4", "--store", store, "--bus", bus)


@pytest.mark.parametrize("fault", [FaultProxy.cut, FaultProxy.swallow])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_stays_away_ends_the_start_with_one_line(
    alone: Alone, tmp_path: Path, backend: str, fault: Callable[[FaultProxy], None]
) -> None:
    lines, start = alone
    fault(lines[backend])
    status, said, errors = run(*start, "--startup-timeout", 1, folder=tmp_path)
    assert (status, said) == (1, "")
    *waiting, last = errors.splitlines()
    assert ["waiting for it" in line for line in waiting] in ([True], [])  # it may have waited once only
    assert last.startswith("greenchat: ")
    for line in (*waiting, last):
        assert str(lines[backend].port) in line, "it does not say where"
        assert "s3cret" not in line
        assert "r3dis" not in line


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_is_away_at_the_start_is_waited_for(
    alone: Alone, tmp_path: Path, backend: str
) -> None:
    lines, start = alone
    lines[backend].cut()
    assert_waits(lines[backend].heal, *start, folder=tmp_path)
