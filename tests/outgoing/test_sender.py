"""One hook's deliveries, over HTTP to a receiver that answers as it likes, on a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.server import StreamServer

from greenchat.data import Inline, SqlStore, open_store
from greenchat.errors import AlreadyOnline, Busy, RequestError
from greenchat.model.instants import to_instant
from greenchat.model.records import Failure, Hook, NewHook, Node
from greenchat.outgoing import sender as module
from greenchat.outgoing.hooks import OutgoingHooks
from greenchat.outgoing.post import Answer
from greenchat.outgoing.sender import MOST, WINDOW, Outcome, Sender, Terms, judge, pause_after
from greenchat.ports.hooks import HookDevice, HookHost, Parcel, Sink
from tests.data.shared import NOW, Told, pair, text

DEADLINE = 30.0
LONG_AGO = "2020-01-01T00:00:00.000Z"
TERMS = Terms(allow_http=True, allowed=[ip_network("127.0.0.0/8")], give_up=3 * 86_400)
GROUP = -1


class FakeDevice(HookDevice):
    """The device of a bot that is in one group; entries are what the test says they are by now."""

    def __init__(self) -> None:
        self.is_online = True
        self.in_group: int | None = 0
        self.now: dict[int, bytes | None] = {}
        self.counted: list[tuple[int, int]] = []

    def joined(self, conversation: int) -> int | None:
        return self.in_group if conversation < 0 else 0

    def again(self, conversation: int, seq: int) -> Parcel | None:
        body = self.now.get(seq, body_of(seq))
        return None if body is None else Parcel(conversation, seq, body)

    def received(self, conversation: int, seq: int) -> None:
        self.counted.append((conversation, seq))

    def log_out(self) -> None:
        self.is_online = False


class FakeHost(HookHost):
    """Gives each hook the same device, or refuses."""

    def __init__(self) -> None:
        self.device = FakeDevice()
        self.refusal: RequestError | None = None
        self.sink: Sink | None = None

    def log_in(self, hook: Hook, sink: Sink) -> HookDevice:
        if self.refusal is not None:
            raise self.refusal
        self.sink = sink
        return self.device


class Receiver:
    """A server that notes each request and answers with the next status of a list, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int | bytes] = []
        self.got: list[tuple[str, Any]] = []
        self.on_request: Callable[[], None] = lambda: None
        self.gate = Event()
        self.gate.set()
        self.server = StreamServer(("127.0.0.1", 0), self._serve)
        self.server.start()

    @property
    def ids(self) -> list[str]:
        return [id for id, _ in self.got]

    def _serve(self, sock: gevent.socket.socket, address: object) -> None:
        with sock:
            data = b""
            while not data.endswith(b"}"):
                data += sock.recv(65_536)
            head, _, body = data.partition(b"\r\n\r\n")
            id = next(
                line.split(": ")[1] for line in head.decode().split("\r\n") if line.startswith("webhook-id")
            )
            self.got.append((id, json.loads(body)))
            self.on_request()
            self.gate.wait(DEADLINE)
            status = self.statuses.pop(0) if self.statuses else 200
            sock.sendall(status if isinstance(status, bytes) else f"HTTP/1.1 {status} X\r\n\r\n".encode())


def body_of(seq: int) -> bytes:
    return json.dumps({"seq": seq}).encode()


class World:
    """A hook, its store, host and receiver."""

    def __init__(self) -> None:
        self.store: SqlStore = open_store("sqlite://", runner=Inline())
        self.store.start()
        self.bot, self.ann = (self.store.create_user(name, "!", NOW) for name in ("bot", "ann"))
        self.chat = pair(self.bot, self.ann)
        self.store.create_group(self.ann, "tea", "", NOW)
        self.receiver = Receiver()
        self.host = FakeHost()
        url = f"http://127.0.0.1:{self.receiver.server.server_port}/"
        self.hook = self.store.add_hook(
            NewHook("a" * 64, self.bot, url=url, secret="whsec_MfKQ9r8GKYqrTwjU"), NOW
        )
        self.store.open_device(self.bot, self.hook.device, Node("n", 1), NOW)
        self.ended: list[str] = []
        self.sender = self.made()

    def made(self, terms: Terms = TERMS) -> Sender:
        return Sender(self.hook, self.store, terms, lambda hook, reason: self.ended.append(reason))

    def say(self, conversation: int, *seqs: int, own: bool = False) -> None:
        for seq in seqs:
            self.store.append(text(conversation, self.ann, "x"), Told())
            self.sender.take(Parcel(conversation, seq, None if own else body_of(seq)))
        self.store.commit_waiting()

    def cursor(self, conversation: int) -> int:
        place = (self.bot, self.hook.device)
        return self.store.cursors(conversation, [place]).get(place, 0)

    def until(self, is_so: Callable[[], bool]) -> None:
        with gevent.Timeout(DEADLINE):
            while not is_so():
                gevent.sleep(0.002)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(module, "SHORTEST", 0.01)
    world = World()
    world.sender.open(world.host)
    yield world
    world.sender.close()
    world.receiver.gate.set()
    world.receiver.server.stop(timeout=1)
    world.store.close()


def test_entries_arrive_in_order_and_the_cursor_follows(world: World) -> None:
    world.say(world.chat, *range(1, 21))
    world.until(lambda: world.cursor(world.chat) == 20)
    assert world.receiver.ids == [f"u{world.bot}-{world.ann}-{seq}" for seq in range(1, 21)]
    assert [body["seq"] for _, body in world.receiver.got] == list(range(1, 21))
    assert world.store.hook_failures(world.hook.id) == {}


def test_the_cursor_is_committed_before_the_next_entry_goes(world: World) -> None:
    seen: list[int] = []
    world.receiver.on_request = lambda: seen.append(world.cursor(world.chat))
    world.say(world.chat, 1, 2, 3)
    world.until(lambda: world.cursor(world.chat) == 3)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("answer", [500, 404, 302, b"", b"nonsense\r\n\r\n"])
def test_an_entry_without_a_2xx_is_tried_again_and_holds_up_its_conversation(
    world: World, answer: Any
) -> None:
    world.receiver.statuses = [answer] * 3
    world.say(world.chat, 1, 2)
    world.until(lambda: world.cursor(world.chat) == 2)
    chat = f"u{world.bot}-{world.ann}"
    assert world.receiver.ids == [f"{chat}-1"] * 4 + [f"{chat}-2"]
    assert world.store.hook_failures(world.hook.id) == {}


def test_other_conversations_go_on_meanwhile(world: World) -> None:
    world.sender.close()
    world.store.hook_failed(world.hook.id, world.chat, Failure(NOW, 9, to_instant(4e9), "refused"))
    world.sender = world.made()
    world.sender.open(world.host)
    world.say(world.chat, *range(1, WINDOW + 1))
    world.say(GROUP, *range(1, 30))
    world.until(lambda: world.cursor(GROUP) == 29)
    assert world.cursor(world.chat) == 0
    assert world.sender.room(world.chat) == 0
    assert world.sender.room(GROUP) == WINDOW


def test_a_failure_is_kept_and_found_by_the_next_server(world: World) -> None:
    world.receiver.statuses = [500] * 1000
    world.say(world.chat, 1)
    world.until(lambda: len(world.receiver.got) >= 3)
    world.sender.close()
    failure = world.store.hook_failures(world.hook.id)[world.chat]
    assert failure.tries >= 2
    assert failure.reason == "status 500"
    assert failure.next_try > failure.since
    world.sender = world.made()
    world.sender.open(world.host)
    world.receiver.statuses = [500]
    world.sender.take(Parcel(world.chat, 1, body_of(1)))
    world.until(lambda: world.store.hook_failures(world.hook.id)[world.chat].tries > failure.tries)
    assert world.store.hook_failures(world.hook.id)[world.chat].since == failure.since


def test_410_ends_the_hook_at_once(world: World) -> None:
    world.receiver.statuses = [410]
    world.say(world.chat, 1, 2)
    world.until(lambda: bool(world.ended))
    assert world.ended == ["status 410: the receiver wants no more"]
    assert len(world.receiver.got) == 1
    assert not world.sender.is_open


def test_days_of_failure_end_the_hook(world: World) -> None:
    world.sender.close()
    world.store.hook_failed(world.hook.id, world.chat, Failure(LONG_AGO, 99, LONG_AGO, "refused"))
    world.sender = world.made()
    world.sender.open(world.host)
    world.receiver.statuses = [500]
    world.say(world.chat, 1)
    world.until(lambda: bool(world.ended))
    assert world.ended[0].startswith("status 500 (for ")


def test_an_entry_that_was_recalled_meanwhile_is_sent_as_it_is_now(world: World) -> None:
    world.receiver.statuses = [500]
    world.host.device.now[1] = b'{"seq":1,"recalled":true}'
    world.say(world.chat, 1)
    world.until(lambda: world.cursor(world.chat) == 1)
    assert [body for _, body in world.receiver.got] == [{"seq": 1}, {"seq": 1, "recalled": True}]


def test_an_entry_that_was_recalled_while_it_waited_for_its_turn_is_sent_as_it_is_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.0)
    for name in ("cake", "jam", "milk"):
        world.store.create_group(world.ann, name, "", NOW)
    world.receiver.gate.clear()
    for conversation in (-1, -2, -3, -4, world.chat):
        world.say(conversation, 1)
    world.until(lambda: len(world.receiver.got) == module.AT_A_TIME)
    world.host.device.now[1] = b'{"recalled": true}'
    world.receiver.gate.set()
    world.until(lambda: world.cursor(world.chat) == 1)
    assert [body for _, body in world.receiver.got] == [*[{"seq": 1}] * 4, {"recalled": True}]


def test_an_entry_that_was_deleted_meanwhile_is_passed_over(world: World) -> None:
    world.receiver.statuses = [500]
    world.host.device.now[1] = None
    world.say(world.chat, 1, 2)
    world.until(lambda: world.cursor(world.chat) == 2)
    assert [body["seq"] for _, body in world.receiver.got] == [1, 2]


def test_the_bots_own_entries_are_counted_and_not_sent(world: World) -> None:
    world.say(world.chat, 1)
    world.say(world.chat, 2, own=True)
    world.say(world.chat, 3)
    world.until(lambda: world.cursor(world.chat) == 3)
    assert [body["seq"] for _, body in world.receiver.got] == [1, 3]
    assert world.host.device.counted == [(world.chat, 2)]


def test_nothing_is_sent_of_a_group_that_the_bot_has_left(world: World) -> None:
    world.host.device.in_group = None
    world.say(GROUP, 1, 2)
    world.say(world.chat, 1)
    world.until(lambda: world.cursor(world.chat) == 1)
    assert [id for id in world.receiver.ids if id.startswith("g")] == []
    world.host.device.in_group = 2  # it has joined again
    world.say(GROUP, 3)
    world.until(lambda: "g1-3" in world.receiver.ids)
    assert [id for id in world.receiver.ids if id.startswith("g")] == ["g1-3"]


def test_an_entry_that_comes_again_is_sent_once(world: World) -> None:
    world.say(world.chat, 1, 2)
    world.until(lambda: world.cursor(world.chat) == 2)
    for seq in (1, 2, 2):
        world.sender.take(Parcel(world.chat, seq, body_of(seq)))
    world.say(world.chat, 3)
    world.until(lambda: world.cursor(world.chat) == 3)
    assert [body["seq"] for _, body in world.receiver.got] == [1, 2, 3]


def test_an_entry_is_sent_again_if_the_database_was_set_back(world: World) -> None:
    world.say(world.chat, 1, 2)
    world.until(lambda: world.cursor(world.chat) == 2)
    world.store.set_back(world.chat, [world.bot], 1)
    world.sender.take(Parcel(world.chat, 2, body_of(2)))
    world.until(lambda: len(world.receiver.got) == 3)
    assert [body["seq"] for _, body in world.receiver.got] == [1, 2, 2]


def test_what_is_in_memory_is_bounded(world: World) -> None:
    world.receiver.gate.clear()
    taken = 0
    for group in range(1, 3_000):
        for seq in range(1, world.sender.room(-group) + 1):
            world.sender.take(Parcel(-group, seq, body_of(seq)))
            taken += 1
    assert MOST <= taken < 2_000


def test_a_login_elsewhere_ends_it_here(world: World) -> None:
    world.sender.ended("replaced")
    world.until(lambda: not world.host.device.is_online)
    world.say(world.chat, 1)
    assert world.receiver.got == []
    assert world.sender.room(world.chat) == 0


def test_a_request_that_is_under_way_is_waited_for_at_the_end(world: World) -> None:
    world.receiver.gate.clear()
    world.say(world.chat, 1, 2)
    world.until(lambda: len(world.receiver.got) == 1)
    closing = gevent.spawn(world.sender.close, DEADLINE)
    gevent.sleep(0)
    world.receiver.gate.set()
    closing.get(timeout=DEADLINE)
    assert world.cursor(world.chat) == 1
    assert len(world.receiver.got) == 1


def test_a_database_that_is_away_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_PAUSE", 0.01)
    keep, failing = world.store.hook_delivered, iter([True, True, False, False])

    def away(hook: Hook, conversation: int, seq: int) -> None:
        if next(failing):
            raise Busy
        keep(hook, conversation, seq)

    monkeypatch.setattr(world.store, "hook_delivered", away)
    world.say(world.chat, 1, 2)
    world.until(lambda: world.cursor(world.chat) == 2)
    assert [body["seq"] for _, body in world.receiver.got] == [1, 2]


# -- Outcomes


def test_outcomes() -> None:
    assert judge(Answer(200, None)) == judge(Answer(299, None)) == Outcome()
    assert judge(Answer(410, None)).is_final
    assert judge(Answer(301, None)).reason == "status 301: redirects are not followed"
    assert judge(Answer(503, 9.0)) == Outcome("status 503", retry_after=9.0)


def test_pauses_grow_from_a_second_to_an_hour() -> None:
    for tries in range(1, 100):
        for _ in range(20):
            assert min(3600, 2 ** (tries - 1)) <= pause_after(tries) <= min(3600, 1.5 * 2 ** (tries - 1))
    assert pause_after(1, 30.0) == 30.0
    assert pause_after(1, 1e9) == 3600.0
    assert len({pause_after(1) for _ in range(20)}) > 1


# -- All hooks


def test_hooks_begin_and_end_with_the_table(world: World) -> None:
    world.sender.close()
    hooks = OutgoingHooks(world.store, world.host, TERMS)
    hooks.sync()
    assert len(hooks) == 1
    world.store.end_hook(world.hook.id, "enough")
    hooks.sync()
    assert len(hooks) == 0
    assert not world.host.device.is_online
    world.store.end_hook(world.hook.id, "")
    world.host.refusal = AlreadyOnline()
    hooks.sync()
    assert len(hooks) == 0
    world.host.refusal = None
    hooks.sync()
    assert len(hooks) == 1
    world.store.remove_hook(world.hook.id)
    hooks.sync()
    assert len(hooks) == 0


def test_a_hook_that_is_switched_off_says_so_to_the_operator(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.sender.close()
    hooks = OutgoingHooks(world.store, world.host, TERMS)
    hooks.sync()
    world.receiver.statuses = [410]
    assert world.host.sink is not None
    world.store.append(text(world.chat, world.ann, "x"), Told())
    world.store.commit_waiting()
    world.host.sink.take(Parcel(world.chat, 1, body_of(1)))
    world.until(lambda: world.store.hooks()[0].ended != "")
    world.until(lambda: len(hooks) == 0)
    assert "hook 1 of 'bot' is switched off: status 410: the receiver wants no more" in caplog.text
    assert "greenchat-admin hook enable 1" in caplog.text
