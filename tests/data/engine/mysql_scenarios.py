"""The scenarios of test_mysql.py: ``python -m tests.data.engine.mysql_scenarios NAME URL``, monkey-patched.

A scenario asks its test to do something to the server by a line on stdout, and goes on at the answer.
"""

from gevent import monkey

monkey.patch_all()

import random  # noqa: E402 - nothing may be imported before it is patched
import sys  # noqa: E402
from collections.abc import Callable, Iterable, Iterator  # noqa: E402
from contextlib import AbstractContextManager, contextmanager  # noqa: E402
from functools import partial  # noqa: E402
from time import monotonic  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import pymysql  # noqa: E402
from gevent.event import Event  # noqa: E402
from gevent.server import StreamServer  # noqa: E402
from gevent.socket import create_connection, socket  # noqa: E402
from sqlalchemy import Connection, make_url  # noqa: E402
from sqlalchemy import text as sql  # noqa: E402

from greenchat.data import Greenlets, SqlStore, commit, open_store  # noqa: E402
from greenchat.data.engine import runner  # noqa: E402
from greenchat.data.engine.mysql import MysqlDatabase  # noqa: E402
from greenchat.data.queries import devices, friends, groups  # noqa: E402
from greenchat.data.queries import marks as marks_module  # noqa: E402
from greenchat.errors import (  # noqa: E402
    BadRequest,
    Blocked,
    Busy,
    DatabaseAway,
    NotAMember,
    RequestError,
    StartupError,
    Uncertain,
)
from greenchat.model.records import NewEntry, Node, Span  # noqa: E402
from tests.data.shared import NOW, Told, pair, recall, text  # noqa: E402

HERE, THERE = Node("here", 1), Node("there", 1)
CHAT, OTHER = pair(1, 2), pair(1, 3)
DEADLINE = 60.0
"""Seconds that anything may take: generous, because nothing waits for it when all is well."""

SHORT: dict[str, Any] = {"pool_wait": 0.5, "answer_wait": 1, "patience": 1.0}
"""Waits for a test that has to see them end."""


def ask(request: str) -> None:
    """Ask the test to do something to the server, and wait until it is done."""
    print(request, flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.readline)


def store_at(url: str, **options: Any) -> SqlStore:
    return SqlStore(MysqlDatabase(make_url(url), **options), Greenlets())


@contextmanager
def running(url: str, **options: Any) -> Iterator[SqlStore]:
    store = store_at(url, **options)
    store.start()
    try:
        yield store
    finally:
        store.close()


def send(store: SqlStore, *messages: NewEntry) -> list[Told]:
    told = [Told() for _ in messages]
    for message, delivery in zip(messages, told, strict=True):
        store.append(message, delivery)
    return told


def ask_database(store: SqlStore, statement: str) -> list[Any]:
    return store.read(lambda db: [tuple(row) for row in db.execute(sql(statement))])


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(DEADLINE):
        while not condition():
            gevent.sleep(0.01)


def together(*calls: Callable[[], Any]) -> list[Any]:
    greenlets = [gevent.spawn(call) for call in calls]
    gevent.joinall(greenlets, timeout=DEADLINE, raise_error=True)
    assert all(greenlet.ready() for greenlet in greenlets)
    return [greenlet.value for greenlet in greenlets]


def logs_have_no_gap(store: SqlStore) -> None:
    gaps = ask_database(
        store,
        'SELECT id, last_seq, COUNT(*), MAX(seq) FROM "Conversation" LEFT JOIN "Message" ON conversation = id'
        " GROUP BY id HAVING last_seq <> COUNT(*) OR last_seq <> MAX(seq)",
    )
    assert gaps == []


# -- The database goes away and comes back


class Sender:
    """Sends numbered messages to one conversation, a few at a time, and again what was not stored."""

    def __init__(self, store: SqlStore, conversation: int, sender: int) -> None:
        self.new: dict[int, str] = {}
        """The cid of each seq that was to be delivered."""
        self.acknowledged: dict[str, int] = {}
        self.busy = 0
        self._store = store
        self._message = partial(text, conversation, sender)
        self._running = True

    def run(self) -> None:
        number = 0
        while self._running:
            cids = [f"m{number + n}" for n in range(16)]
            number += 16
            while cids:
                told = {cid: Told() for cid in cids}
                for cid, delivery in told.items():
                    self._store.append(self._message(cid, cid), delivery)
                for cid, delivery in told.items():
                    self._note(cid, delivery)
                cids = [cid for cid in cids if cid not in self.acknowledged]
                gevent.sleep(0.05 if cids else 0)

    def stop(self) -> None:
        self._running = False

    def _note(self, cid: str, delivery: Told) -> None:
        outcome = delivery.wait(DEADLINE)
        if isinstance(outcome, RequestError):
            assert isinstance(outcome, Busy)
            self.busy += 1
            return
        seq, _, repeated = outcome
        self.acknowledged[cid] = seq
        if not repeated:
            assert seq not in self.new
            self.new[seq] = cid


def killed_under_load(url: str) -> None:
    """Nothing acknowledged is lost, and each row was to be delivered exactly once."""
    with running(url) as store:
        senders = {n: Sender(store, pair(1, n), n) for n in range(2, 8)}
        for n in range(1, 8):
            store.create_user(f"u{n}", "h", NOW)
        greenlets = [gevent.spawn(sender.run) for sender in senders.values()]
        for _ in range(3):
            progress(senders.values(), 200)
            ask("kill")
            ask("start")
        progress(senders.values(), 100)
        for sender in senders.values():
            sender.stop()
        gevent.joinall(greenlets, timeout=DEADLINE, raise_error=True)
        logs_have_no_gap(store)
        for n, sender in senders.items():
            rows = ask_database(store, f'SELECT seq, cid FROM "Message" WHERE conversation = {pair(1, n)}')
            assert {cid: seq for seq, cid in rows} == sender.acknowledged
            assert dict(rows) == sender.new


def progress(senders: Iterable[Sender], by: int) -> None:
    """Wait until each has got some more messages through."""
    goals = [(sender, len(sender.acknowledged) + by) for sender in senders]
    until(lambda: all(len(sender.acknowledged) >= goal for sender, goal in goals))


def stopped(url: str) -> None:
    """While the server is stopped all is Busy and the loop turns; then all is well by itself."""
    with running(url, **SHORT) as store:
        store.create_user("ann", "h", NOW)
        assert send(store, text(CHAT, 1, "before", "c0"))[0].wait() == (1, NOW, False)
        ask("SIGSTOP")
        ticks: list[float] = []

        def tick() -> None:
            while True:
                gevent.sleep(0.05)
                ticks.append(monotonic())

        ticking = gevent.spawn(tick)
        told = send(store, *[text(CHAT, 1, f"m{n}", f"c{n}") for n in range(1, 9)])

        def fails(call: Callable[[], object]) -> bool:
            try:
                call()
            except Busy:
                return True
            return False

        reads: list[Callable[[], object]] = [
            partial(store.head, CHAT)
        ] * 40  # more than the pool has connections
        writes: list[Callable[[], object]] = [partial(store.add_friend, 1, 1, NOW)] * 3
        assert together(*[partial(fails, call) for call in (*reads, *writes)]) == [True] * 43
        assert isinstance(told[0].wait(), Busy)
        turned = len(ticks)
        assert turned > 5
        ask("SIGCONT")
        outcomes: list[Any] = []

        def stored() -> bool:
            outcomes[:] = [delivery.wait() for delivery in send(store, text(CHAT, 1, "m1", "c1"))]
            return not isinstance(outcomes[0], Busy)

        until(stored)
        assert outcomes == [(2, NOW, False)]
        until(lambda: not fails(lambda: store.head(CHAT)))
        assert store.head(CHAT) == 2
        ticking.kill()


def hung(url: str) -> None:
    """A read of a server that hangs ends long before the driver would give up, and the next at once."""
    runner.READ_WAIT = 0.3
    with running(url, answer_wait=60) as store:
        store.create_user("ann", "h", NOW)
        assert store.head(CHAT) == 0
        ask("SIGSTOP")
        with gevent.Timeout(30):
            for _ in range(50):  # one after the other, of a client that has many under way
                try:
                    store.head(CHAT)
                except Busy:
                    pass
                else:
                    raise AssertionError("who has answered?")
        ask("SIGCONT")

        def answers() -> bool:
            try:
                return store.head(CHAT) == 0
            except Busy:
                return False

        until(answers)


def forgotten(url: str) -> None:
    """Connections that a firewall has forgotten hold up one read, not one each."""
    with through_a_proxy(url, pool_size=8, answer_wait=60) as (store, proxy):
        assert together(*[partial(ask_database, store, "SELECT SLEEP(0.1)")] * 8) == [[(0,)]] * 8
        proxy.forget()
        assert not answered(store)
        gevent.sleep(runner.REST)
        assert together(*[partial(answered, store)] * 8) == [True] * 8


def given_up(url: str) -> None:
    """Reads that are given up make no connections beyond those of the pool."""
    with running(url, pool_size=2) as store:
        store.create_user("ann", "h", NOW)
        sleepers = [gevent.spawn(store.write, lambda db: db.execute(sql("SELECT SLEEP(30)"))) for _ in "ab"]
        until(lambda: number_of(url, "SLEEP") == 2)
        runner.READ_WAIT, runner.REST = 0.2, 0.0
        assert together(*[partial(answered, store)] * 8) == [False] * 8
        assert not answered(store)
        assert number_of(url, "") <= 4  # the pool, the committer, and the one that counts
        gevent.killall(sleepers)


def answered(store: SqlStore) -> bool:
    try:
        return store.head(CHAT) == 0
    except Busy:
        return False


class Proxy:
    """Between a store and the server; does what it is told when a COMMIT passes that has rows behind it.

    Attributes:
        plan: called once, instead of passing on a COMMIT that has rows behind it, with the proxy's two
            sockets and the packet; says whether the connection goes on.  No answer is passed back.
        change: how a statement begins that such rows are written with.
    """

    change = b"INSERT INTO `Message`"

    def __init__(self, url: str) -> None:
        there = make_url(url)
        self._there = (there.host, there.port)
        self.refuse = False
        self.refused = 0
        self.plan: Callable[[socket, socket, bytes], bool] | None = None
        self.asked: list[bytes] = []
        self._age = 0
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.url = there.set(port=self._server.server_port).render_as_string(hide_password=False)

    def close(self) -> None:
        self._server.stop()

    def forget(self) -> None:
        """Carry nothing more on the connections that exist, and say nothing of it, as some firewalls do."""
        self._age += 1

    def _serve(self, client: socket, address: object) -> None:
        if self.refuse:
            self.refused += 1
            return
        server = create_connection(self._there)
        back = gevent.spawn(self._pass_back, server, client)
        wrote = False
        age = self._age
        try:
            while packet := client.recv(1 << 20):
                if age < self._age:
                    continue
                self.asked.append(packet)
                wrote = wrote or self.change in packet
                if wrote and packet[5:] == b"COMMIT" and self.plan:
                    plan, self.plan = self.plan, None
                    back.kill()
                    if not plan(client, server, packet):
                        return
                else:
                    server.sendall(packet)
        except OSError:
            pass
        finally:
            back.kill()
            server.close()

    def _pass_back(self, server: socket, client: socket) -> None:
        try:
            while packet := server.recv(1 << 20):
                client.sendall(packet)
            client.shutdown(2)
        except OSError:
            pass


@contextmanager
def proxied(url: str, **options: Any) -> Iterator[tuple[SqlStore, Proxy]]:
    proxy = Proxy(url)
    with running(proxy.url, **options) as store:
        yield store, proxy
    proxy.close()


@contextmanager
def through_a_proxy(url: str, **options: Any) -> Iterator[tuple[SqlStore, Proxy]]:
    with running(url) as patient:  # on a busy machine even this may take longer than SHORT
        patient.create_user("ann", "h", NOW)
    with proxied(url, **options) as both:
        yield both


def stay_open(server: socket) -> None:
    """Let the transaction of a connection stay open for as long as the test takes.

    MariaDB rolls back one that is idle for three seconds (``mysql._SESSION``), which a busy machine may need
    to do what the COMMIT that is held waits for.
    """
    statement = b"\x03SET SESSION idle_transaction_timeout = 0"
    server.sendall(len(statement).to_bytes(3, "little") + b"\0" + statement)
    assert server.recv(1 << 16)[4:5] == b"\0"  # OK


def log_of(store: SqlStore, conversation: int) -> list[tuple[int, str]]:
    return [
        (entry.seq, entry.body) for entry in store.entries([Span(conversation, 0, store.head(conversation))])
    ]


def committed_unheard(url: str) -> None:
    """A commit whose answer is lost is found out, and its messages are new to everybody."""
    with through_a_proxy(url) as (store, proxy), running(url) as other:
        send(store, text(CHAT, 1, "gone", "c0"))[0].wait()

        def cut_after(client: socket, server: socket, packet: bytes) -> bool:
            server.sendall(packet)
            until(lambda: log_of(other, CHAT) != [(1, "gone")])
            client.shutdown(2)
            return False

        proxy.plan = cut_after
        told = send(
            store,
            text(CHAT, 1, "one", "c1"),
            text(CHAT, 1, "without"),
            text(CHAT, 1, "one", "c1"),
            recall(CHAT, 1, 1),
            text(CHAT, 1, "other", "c1"),
        )
        outcomes = [delivery.wait() for delivery in told]
        assert outcomes[:4] == [(2, NOW, False), (3, NOW, False), (2, NOW, True), (4, NOW, False)]
        assert isinstance(outcomes[4], BadRequest)
        assert proxy.plan is None
        assert log_of(store, CHAT) == [(1, ""), (2, "one"), (3, "without"), (4, "1")]


def error_packet(code: int, words: bytes) -> bytes:
    """Return what the server says instead of OK."""
    said = b"\xff" + code.to_bytes(2, "little") + b"#70100" + words
    return len(said).to_bytes(3, "little") + b"\x01" + said


def committed_with_an_error(url: str) -> None:
    """A COMMIT that an operator's KILL interrupts may be done all the same: nothing is stored twice."""
    with through_a_proxy(url) as (store, proxy), running(url) as other:

        def interrupt(client: socket, server: socket, packet: bytes) -> bool:
            server.sendall(packet)
            until(lambda: log_of(other, CHAT))
            client.sendall(error_packet(1317, b"Query execution was interrupted"))
            return False

        proxy.plan = interrupt
        assert send(store, text(CHAT, 1, "one"))[0].wait() == (1, NOW, False)
        assert proxy.plan is None
        assert log_of(store, CHAT) == [(1, "one")]


def cut_before_commit(url: str) -> None:
    """A commit that never arrived is found out too: Busy, and then stored once."""
    with through_a_proxy(url) as (store, proxy):

        def cut_before(client: socket, server: socket, packet: bytes) -> bool:
            client.shutdown(2)
            return False

        proxy.plan = cut_before
        told = send(store, text(CHAT, 1, "one", "c1"), text(CHAT, 1, "two"))
        assert [type(delivery.wait()) for delivery in told] == [Busy, Busy]
        assert log_of(store, CHAT) == []
        assert send(store, text(CHAT, 1, "one", "c1"))[0].wait() == (1, NOW, False)
        assert log_of(store, CHAT) == [(1, "one")]


def committed_late(url: str) -> None:
    """A commit that is done after we have given it up is waited for, not mistaken for none."""
    with through_a_proxy(url, **SHORT) as (store, proxy), running(url) as other:

        def hold(client: socket, server: socket, packet: bytes) -> bool:
            stay_open(server)
            until(lambda: any(b"FOR UPDATE" in packet for packet in proxy.asked))
            gevent.sleep(0.2)  # the look at its locks is on its way: MySQL has no sign for "is waiting now"
            server.sendall(packet)
            until(lambda: log_of(other, CHAT))
            return False

        proxy.asked.clear()
        proxy.plan = hold
        told = send(store, text(CHAT, 1, "one", "c1"), text(CHAT, 1, "two"))
        assert [delivery.wait() for delivery in told] == [(1, NOW, False), (2, NOW, False)]
        assert log_of(store, CHAT) == [(1, "one"), (2, "two")]


def in_doubt_for_long(url: str) -> None:
    """Until it is known what became of a commit the others get Busy; then it is told, once."""
    with through_a_proxy(url, **SHORT) as (store, proxy), running(url) as other:

        def cut_after(client: socket, server: socket, packet: bytes) -> bool:
            server.sendall(packet)
            until(lambda: log_of(other, CHAT))
            proxy.refuse = True
            client.shutdown(2)
            return False

        proxy.plan = cut_after
        doubtful = send(store, text(CHAT, 1, "one", "c1"))[0]
        until(lambda: proxy.refuse)
        for _ in range(2):
            assert isinstance(send(store, text(CHAT, 1, "two", "c2"))[0].wait(), Busy)
            assert doubtful.outcomes == []
        seen = proxy.refused
        until(lambda: proxy.refused > seen + 20)  # it goes on looking by itself
        assert doubtful.outcomes == []
        proxy.refuse = False
        assert doubtful.wait() == (1, NOW, False)
        assert send(store, text(CHAT, 1, "two", "c2"))[0].wait() == (2, NOW, False)
        assert log_of(store, CHAT) == [(1, "one"), (2, "two")]


LEAVING = b'DELETE FROM "GroupUser"'


def leave_in_doubt(url: str) -> None:
    """A leaving whose commit is not heard of is found out at once, or it is told that nobody knows."""
    with running(url) as other:
        for name in ("ann", "bob"):
            other.create_user(name, "h", NOW)
        first, second, third = (other.create_group(1, f"g{n}", "", NOW) for n in range(3))
        with proxied(url) as (store, proxy):
            proxy.change = LEAVING
            left_unheard(store, proxy, other, first)
        with proxied(url, **SHORT) as (store, proxy):
            proxy.change = LEAVING
            not_left_unheard(store, proxy, other, second)
            left_late(store, proxy, other, third, lambda: is_running(url, "FOR UPDATE"))


def left_unheard(store: SqlStore, proxy: Proxy, other: SqlStore, group: int) -> None:
    def cut_after(client: socket, server: socket, packet: bytes) -> bool:
        server.sendall(packet)
        until(lambda: len(other.membership(group)) == 0)
        client.shutdown(2)
        return False

    proxy.plan = cut_after
    store.leave_group(1, group)
    assert proxy.plan is None


def not_left_unheard(store: SqlStore, proxy: Proxy, other: SqlStore, group: int) -> None:
    def lose(client: socket, server: socket, packet: bytes) -> bool:
        proxy.refuse = True
        client.shutdown(2)
        return False

    proxy.plan = lose
    resolve = uncertain(partial(store.leave_group, 1, group))
    try:
        resolve()
    except Busy:
        pass
    else:
        raise AssertionError("the database cannot be asked")
    proxy.refuse = False
    until_not_busy(resolve)
    assert other.membership(group) == {1: 0}  # the look has changed nothing


def left_late(
    store: SqlStore, proxy: Proxy, other: SqlStore, group: int, is_looking: Callable[[], bool]
) -> None:
    go = Event()

    def hold(client: socket, server: socket, packet: bytes) -> bool:
        stay_open(server)
        proxy.refuse = True
        client.shutdown(2)
        assert go.wait(DEADLINE)
        server.sendall(packet)
        until(lambda: not other.membership(group))
        return False

    proxy.plan = hold
    resolve = uncertain(partial(store.leave_group, 1, group))
    proxy.refuse = False
    look = gevent.spawn(until_not_busy, resolve)
    until(is_looking)
    assert other.membership(group) == {1: 0}
    go.set()
    look.get(timeout=DEADLINE)
    assert other.membership(group) == {}


def uncertain(change: Callable[[], object]) -> Callable[[], None]:
    """Make a change of which nobody knows whether it was made, and return what waits for that."""
    try:
        change()
    except Uncertain as doubt:
        return doubt.resolve
    raise AssertionError("this is certain")


def until_not_busy(call: Callable[[], object]) -> None:
    def done() -> bool:
        try:
            call()
        except Busy:
            return False
        return True

    until(done)


def in_doubt_at_the_end(url: str) -> None:
    """A store that is closed while a commit is in doubt ends, and tells."""
    proxy = Proxy(url)
    store = store_at(proxy.url, **SHORT)
    store.start()

    def cut(client: socket, server: socket, packet: bytes) -> bool:
        proxy.refuse = True
        client.shutdown(2)
        return False

    proxy.plan = cut
    doubtful = send(store, text(CHAT, 1, "one", "c1"))[0]
    until(lambda: proxy.refuse)
    with gevent.Timeout(DEADLINE):
        store.close()
    assert isinstance(doubtful.outcomes[0], Busy)
    proxy.close()


# -- Greenlets and their connections


def killed_greenlet(url: str) -> None:
    """A greenlet that is killed in mid-query costs its connection, not the pool."""
    with running(url, pool_size=1) as store:

        def connection() -> int:
            return int(ask_database(store, "SELECT CONNECTION_ID()")[0][0])

        def asleep(db: Connection) -> None:
            db.execute(sql("SELECT SLEEP(30)"))

        for call in (store.read, store.write):
            before = connection()
            assert connection() == before
            sleeper = gevent.spawn(call, asleep)
            until(lambda: is_asleep(url))
            sleeper.kill()
            assert connection() != before
            with gevent.Timeout(0.3, False):
                call(asleep)
            assert ask_database(store, "SELECT 42") == [(42,)]
        store.create_user("ann", "h", NOW)
        assert store.user(id=1).name == "ann"


def is_asleep(url: str) -> bool:
    return is_running(url, "SLEEP")


def is_running(url: str, words: str) -> bool:
    """Return whether a statement with these words is being done, or waits for a lock."""
    return number_of(url, words) > 0


def number_of(url: str, words: str) -> int:
    """Return the number of connections whose statements have these words."""
    there = make_url(url)
    connection = pymysql.connect(
        host=there.host, port=there.port or 0, user=there.username, password=(there.password or "").encode()
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        return sum(words in str(row[7]) for row in cursor.fetchall())


def pool_deadline(url: str) -> None:
    """Who waits too long for a connection is told Busy; the committer has its own."""
    with running(url, pool_size=2, pool_wait=0.2) as store:
        store.create_user("ann", "h", NOW)
        sleepers = [gevent.spawn(store.read, lambda db: db.execute(sql("SELECT SLEEP(30)"))) for _ in "ab"]
        until(lambda: is_asleep(url))
        for call in (partial(store.head, CHAT), partial(store.add_friend, 1, 1, NOW)):
            try:
                call()
            except Busy:
                pass
            else:
                raise AssertionError("not refused")
        assert send(store, text(CHAT, 1, "hi"))[0].wait() == (1, NOW, False)
        gevent.killall(sleepers)
        assert store.head(CHAT) == 1


def many_readers(url: str) -> None:
    """A hundred greenlets share a small pool."""
    with running(url, pool_size=4) as store:
        assert together(*[partial(store.head, n) for n in range(1, 101)]) == [0] * 100
        used = together(*[partial(ask_database, store, "SELECT CONNECTION_ID()")] * 100)
        assert 1 <= len({row for rows in used for row in rows}) <= 4


def deadlocked_operations(url: str) -> None:
    """Of two operations that wait for each other one is tried again, and nobody hears of it."""
    with running(url) as store:
        for name in ("ann", "bob"):
            store.create_user(name, "h", NOW)
        met = {1: Event(), 2: Event()}
        tries: list[int] = []

        def rename(db: Connection, first: int, second: int) -> None:
            tries.append(first)
            db.execute(sql(f'UPDATE "User" SET node = {first} WHERE id = {first}'))
            met[first].set()
            assert met[second].wait(DEADLINE)
            db.execute(sql(f'UPDATE "User" SET node = {first} WHERE id = {second}'))

        together(partial(store.write, rename, 1, 2), partial(store.write, rename, 2, 1))
        assert len(tries) == 3
        assert len(set(ask_database(store, 'SELECT node FROM "User"'))) == 1


def closing_a_node_waits_for_the_messages_before(url: str) -> None:
    with running(url) as store:
        store.create_user("ann", "h", NOW)
        told = send(store, *[text(CHAT, 1, "hi") for _ in range(3000)])
        store.close_node(HERE, NOW)
        assert [delivery.outcomes[0][0] for delivery in told] == list(range(1, 3001))


def a_login_waits_for_the_close_before_it(url: str) -> None:
    """A device that comes back while its end is being written is online afterwards."""
    with running(url) as store:
        store.create_user("ann", "h", NOW)
        store.open_device(1, "a", HERE, NOW)
        go, begun, write = Event(), Event(), marks_module.write

        def slow(*args: Any) -> None:
            if not begun.is_set():
                begun.set()
                assert go.wait(DEADLINE)
            write(*args)

        marks_module.write = slow  # type: ignore[assignment]
        store.close_device(1, "a", HERE, NOW)
        assert begun.wait(DEADLINE)
        login = gevent.spawn(store.open_device, 1, "a", HERE, NOW)
        assert store.open_device(1, "b", HERE, NOW).backlog == []
        assert not login.ready()
        go.set()
        login.get(timeout=DEADLINE)
        store.write_marks()
        assert ask_database(store, 'SELECT node FROM "Device" ORDER BY device') == [("here",), ("here",)]


# -- Servers that do not know of each other


def refused(store: SqlStore, alone: bool) -> str:
    """Return the words with which a server is kept off, which is done at once."""
    try:
        store.claim(alone, lambda: None)
    except DatabaseAway:
        raise
    except StartupError as error:
        return str(error)
    raise AssertionError("not refused")


def servers_without_a_bus(url: str) -> None:
    """A server without a bus is alone, and there is none beside a cluster; its end makes room at once."""
    with running(url) as first, running(url) as second, running(url) as third:
        first.claim(True, lambda: None)
        assert "in use by another server" in refused(second, True)
        assert "in use by a server without --bus" in refused(second, False)
        first.close()
        second.claim(False, lambda: None)
        third.claim(False, lambda: None)
        with running(url) as fourth:
            assert "in use by a cluster" in refused(fourth, True)
            second.close()
            assert "in use by a cluster" in refused(fourth, True)
            third.close()
            fourth.claim(True, lambda: None)  # who is the last of a cluster is not known: as after a crash


def a_server_that_was_killed(url: str) -> None:
    """What a dead server leaves behind does not keep the next one off; if it lived after all, it ends."""
    with running(url) as first, running(url) as second, running(url) as third:
        lost = Event()
        first.claim(True, lost.set)
        with held_up(first):
            second.claim(True, lambda: None)
        assert lost.wait(DEADLINE)
        assert "in use by another server" in refused(third, True)
        first.close()  # and takes nothing with it
        assert "in use by another server" in refused(third, True)


@contextmanager
def held_up(store: SqlStore) -> Iterator[None]:
    """Have a store write nothing, as if its process were stopped."""
    go, operating = Event(), store.database.operating

    def wait() -> AbstractContextManager[Connection]:
        go.wait()
        return operating()

    store.database.operating = wait  # type: ignore[method-assign]
    yield
    go.set()


def a_lease_is_renewed_over_an_outage(url: str) -> None:
    """A server keeps its database over a restart of it, also if its lease was deleted."""
    with running(url) as store, running(url) as other:
        lost = Event()
        store.claim(True, lost.set)
        ask("kill")
        ask("start")
        until(lambda: answers(store))
        ask_database(store, "SELECT 1")
        store.write(lambda db: db.execute(sql("DELETE FROM Setting WHERE name = 'server'")))
        until(lambda: ask_database(other, "SELECT value FROM Setting WHERE name = 'server'"))
        assert "in use by another server" in refused(other, True)
        assert not lost.is_set()


def answers(store: SqlStore) -> bool:
    try:
        store.head(CHAT)
    except Busy:
        return False
    return True


# -- Somebody else's locks


@contextmanager
def locked(url: str, conversation: int) -> Iterator[None]:
    """Have a conversation's counter locked, as by a transaction that somebody left open in a shell."""
    there = make_url(url)
    shell = pymysql.connect(
        host=there.host,
        port=there.port or 0,
        user=there.username,
        password=(there.password or "").encode(),
        database=there.database,
    )
    with shell, shell.cursor() as cursor:
        cursor.execute("SELECT last_seq FROM Conversation WHERE id = %s FOR UPDATE", (conversation,))
        yield


def a_locked_conversation_delays_no_other(url: str) -> None:
    """Messages to others are stored while the lock lasts; those of the locked one wait, in order."""
    commit.LOCK_PATIENCE = DEADLINE
    with running(url) as store:
        store.create_user("ann", "h", NOW)
        send(store, text(CHAT, 1, "1"))[0].wait()
        with locked(url, CHAT):
            waiting = send(
                store, text(CHAT, 1, "2"), text(OTHER, 1, "a"), text(CHAT, 1, "3"), text(pair(1, 4), 1, "b")
            )
            assert [waiting[n].wait() for n in (1, 3)] == [(1, NOW, False)] * 2
            waiting += send(store, text(CHAT, 1, "4"))
            for n in range(2, 20):
                assert send(store, text(OTHER, 1, "a"))[0].wait() == (n, NOW, False)
            assert [waiting[n].outcomes for n in (0, 2, 4)] == [[]] * 3
            waiting += send(store, text(CHAT, 1, "5"))
        assert [waiting[n].wait() for n in (0, 2, 4, 5)] == [(n, NOW, False) for n in range(2, 6)]
        assert send(store, text(CHAT, 1, "6"))[0].wait() == (6, NOW, False)
        assert log_of(store, CHAT) == [(n, f"{n}") for n in range(1, 7)]
        logs_have_no_gap(store)


def who_waits_for_a_lock_too_long_is_told(url: str) -> None:
    """Messages of a conversation that stays locked are refused; so are, in time, those who try again."""
    commit.LOCK_PATIENCE = 0.5
    with running(url) as store:
        store.create_user("ann", "h", NOW)
        send(store, text(CHAT, 1, "1"))[0].wait()
        with locked(url, CHAT):
            for _ in range(3):
                told = send(store, text(CHAT, 1, "2", "c2"), text(OTHER, 1, "a"), text(CHAT, 1, "3", "c3"))
                assert isinstance(told[1].wait(), tuple)
                assert [type(told[n].wait()) for n in (0, 2)] == [Busy] * 2
            told = send(store, text(OTHER, 1, "a"))
            assert isinstance(told[0].wait(), tuple)
        until(lambda: send(store, text(CHAT, 1, "2", "c2"))[0].wait() == (2, NOW, False))
        assert send(store, text(CHAT, 1, "3", "c3"))[0].wait() == (3, NOW, False)
        assert log_of(store, CHAT) == [(1, "1"), (2, "2"), (3, "3")]


def a_store_that_closes_waits_for_no_lock(url: str) -> None:
    """What is set aside when all ends is refused."""
    commit.LOCK_PATIENCE = DEADLINE
    with running(url) as store:
        store.create_user("ann", "h", NOW)
        send(store, text(CHAT, 1, "1"))[0].wait()
        with locked(url, CHAT):
            told, other = send(store, text(CHAT, 1, "2"), text(OTHER, 1, "a"))
            assert isinstance(other.wait(), tuple)
            store.close()
        assert isinstance(told.wait(), Busy)


# -- Several nodes


def two_nodes(url: str) -> None:
    """Two nodes write to the same conversations: no gap at any instant, each node's order kept."""
    chats = [pair(1, 2), pair(1, 3), pair(2, 3), *(pair(1, n) for n in range(11, 16))]
    with running(url) as one, running(url) as two:
        one.create_user("ann", "h", NOW)
        watching = gevent.spawn(watch, two)
        journals: dict[tuple[int, int], list[int]] = {}

        def run(node: int, store: SqlStore) -> None:
            for round in range(25):
                fresh = [
                    pair(1, 100 + round),
                    pair(1, 200 + round),
                ]  # conversations that both begin at a time
                batch = [random.choice(chats + fresh) for _ in range(80)] + fresh
                random.shuffle(batch)
                told = send(
                    store, *[text(chat, 1, f"{node}", f"{node}.{round}.{n}") for n, chat in enumerate(batch)]
                )
                for chat, delivery in zip(batch, told, strict=True):
                    outcome = delivery.wait()
                    assert isinstance(outcome, tuple), outcome
                    journals.setdefault((node, chat), []).append(outcome[0])

        together(partial(run, 1, one), partial(run, 2, two))
        watching.kill()
        assert watching.successful()
        assert all(seqs == sorted(seqs) for seqs in journals.values())
        for chat in {chat for _, chat in journals}:
            both = journals.get((1, chat), []) + journals.get((2, chat), [])
            assert sorted(both) == list(range(1, len(both) + 1))
        logs_have_no_gap(one)


def watch(store: SqlStore) -> None:
    while True:
        logs_have_no_gap(store)
        gevent.sleep(0.01)


def a_raced_cid(url: str) -> None:
    """A message that reaches two nodes at a time is stored once, and both know where."""
    with running(url) as one, running(url) as two:
        one.create_user("ann", "h", NOW)
        for round in range(40):
            batch = [text(pair(1, 2 + n % 3), 1, "hi", f"{round}.{n}") for n in range(5)]
            firsts = [send(store, *random.sample(batch, 5)) for store in (one, two)]
            seqs = [sorted(delivery.wait()[:2] for delivery in told) for told in firsts]
            assert seqs[0] == seqs[1]
            assert sum(not delivery.outcomes[0][2] for told in firsts for delivery in told) == 5
        logs_have_no_gap(one)


def devices_on_two_nodes(url: str) -> None:
    """Whose devices go offline on two nodes at a time is offline; who comes as another goes is online."""
    with running(url) as one, running(url) as two:
        users = [one.create_user(f"u{n}", "h", NOW) for n in range(20)]

        def open_all(store: SqlStore, device: str, node: Node) -> None:
            for user in random.sample(users, len(users)):
                store.open_device(user, device, node, NOW)

        def close_all(store: SqlStore, device: str, node: Node) -> None:
            for user in random.sample(users, len(users)):
                store.close_device(user, device, node, NOW)
                if user % 3 == 0:
                    store.write_marks()
            store.write_marks()

        for _ in range(4):
            together(partial(open_all, one, "a", HERE), partial(open_all, two, "b", THERE))
            together(partial(close_all, one, "a", HERE), partial(close_all, two, "b", THERE))
            assert ask_database(one, 'SELECT DISTINCT state, node FROM "User"') == [("offline", None)]
            together(partial(open_all, one, "a", HERE))
            together(partial(close_all, one, "a", HERE), partial(open_all, two, "b", THERE))
            assert ask_database(one, 'SELECT DISTINCT state, node FROM "User"') == [("online", "there")]
            together(partial(close_all, two, "b", THERE))


def a_message_waits_for_a_block_or_leaving(url: str) -> None:
    """A message is refused whose sender is being blocked or leaving, be it the first of its conversation."""
    with running(url) as one, running(url) as two:
        for name in ("ann", "bob"):
            one.create_user(name, "h", NOW)
        group = one.create_group(2, "g", "", NOW)
        one.join_group(1, group, NOW)
        block = partial(friends.block, sql=one.database.statements, userid=2, blockedid=1)
        leave = partial(groups.leave_group, sql=one.database.statements, userid=1, groupid=group)
        first, second = text(CHAT, 1, "hi"), text(-group, 1, "hi")
        for seq in (1, 2):
            assert isinstance(sent_during(block, first, one, two, url), Blocked)
            assert isinstance(sent_during(leave, second, one, two, url), NotAMember)
            one.unblock(2, 1)
            one.join_group(1, group, NOW)
            assert [told.wait() for told in send(two, first, second)] == [(seq, NOW, False)] * 2


def sent_during(
    change: Callable[[Connection], None], message: NewEntry, one: SqlStore, two: SqlStore, url: str
) -> object:
    """Commit a change at one node once the other is appending a message, and return what comes of that."""
    done, go = Event(), Event()

    def slowly(db: Connection) -> None:
        change(db)
        done.set()
        assert go.wait(DEADLINE)

    changing = gevent.spawn(one.write, slowly)
    assert done.wait(DEADLINE)
    (told,) = send(two, message)
    until(lambda: told.outcomes or is_running(url, "INSERT INTO `Conversation`"))
    go.set()
    changing.get(timeout=DEADLINE)
    return told.wait()


def devices_closed_while_another_is(url: str) -> None:
    """Of two nodes that close a user's last devices at a time, the second sees what the first did."""
    with running(url) as one, running(url) as two:
        for name in ("ann", "bob"):  # two, of whom the second is waited for when the statement has begun
            two.open_device(one.create_user(name, "h", NOW), "b", THERE, NOW)
        one.open_device(2, "a", HERE, NOW)
        done, go = Event(), Event()

        def close_slowly(db: Connection) -> None:
            devices.close_devices(db, [(2, "a", *HERE)], NOW)
            done.set()
            assert go.wait(DEADLINE)

        first = gevent.spawn(one.write, close_slowly)
        assert done.wait(DEADLINE)
        for user in (1, 2):
            two.close_device(user, "b", THERE, NOW)
        second = gevent.spawn(two.write_marks)
        until(lambda: is_running(url, "`User`") or is_running(url, '"User"'))
        go.set()
        gevent.joinall([first, second], timeout=DEADLINE, raise_error=True)
        assert ask_database(one, 'SELECT DISTINCT state, node FROM "User"') == [("offline", None)]


def a_first_login_on_two_nodes(url: str) -> None:
    """A new device of a user that logs in twice at a time has its cursors once."""
    with running(url) as one, running(url) as two:
        one.create_user("ann", "h", NOW)
        for delivery in send(one, *[text(pair(1, n), n, "hi") for n in range(2, 12)]):
            delivery.wait()
        one.open_device(1, "old", HERE, NOW)
        for n in range(2, 12):
            one.move_cursor(1, "old", pair(1, n), 1, 0, 0)
        one.write_marks()
        for n in range(15):
            states = together(*[partial(s.open_device, 1, f"d{n}", HERE, NOW) for s in (one, two)])
            assert [state.backlog for state in states] == [[], []]
            assert states[0].generation == states[1].generation


def starts(store: SqlStore) -> bool:
    try:
        store.start()
    except DatabaseAway:  # the others take long to set it up
        return False
    return True


def starts_at_once(url: str) -> None:
    """Servers that start together on an empty database set it up together."""
    stores = [open_store(url) for _ in range(8)]
    together(*[partial(until, partial(starts, store)) for store in stores])
    secrets = together(*[partial(store.setting, "secret", f"{n}") for n, store in enumerate(stores)])
    assert len(set(secrets)) == 1
    stores[0].create_user("ann", "h", NOW)
    assert all(store.user(id=1).name == "ann" for store in stores)
    for store in stores:
        store.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
