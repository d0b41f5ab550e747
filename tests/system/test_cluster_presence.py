"""PRESENCE and messages with the real programs, when something was away or a clock was put back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from time import monotonic, sleep

import pytest

from lab.fleet import Fleet
from tests.system.outages import kill_redis, stop_mariadb, stop_redis
from tests.system.server import Client, beating, join

ADD_FRIEND, ONE_CHAT, HEARTBEAT, PRESENCE = 7, 6, 12, 23

CALM = 10.0
"""Seconds after which each friend sees what is so (docs/protocol.md)."""


def wait_for_state(client: Client, friend: int, state: str) -> None:
    """Wait until the last that a client was told of a friend is so."""
    until = monotonic() + CALM
    while True:
        client.ask(HEARTBEAT)
        pushed = [frame for frame in client.frames if frame["msgid"] == PRESENCE]
        told = [frame["state"] for frame in pushed if frame["id"] == friend]
        if told[-1:] == [state]:
            return
        assert monotonic() < until, told
        sleep(0.2)


@pytest.mark.parametrize("take_away", [kill_redis, stop_redis, stop_mariadb])
def test_who_goes_while_a_backend_is_away_is_seen_to_have_gone_when_it_is_back(
    fleet: Fleet, take_away: Callable[[Fleet], Callable[[], None]]
) -> None:
    first, second, third = fleet.nodes
    name = take_away.__name__
    with ExitStack() as ends:
        ann = ends.enter_context(join(first, f"ann {name}"))
        cem = ends.enter_context(join(third, f"cem {name}"))
        bob = join(second, f"bob {name}")
        for follower in (ann, cem):
            assert follower.done(ADD_FRIEND, friendid=bob.id)["friend"]["state"] == "online"
        with beating(ann, cem):  # nobody is evicted meanwhile
            bring_back = take_away(fleet)
            sleep(1)  # Redis counts as away, and the database as slow
            bob.reset()
            sleep(3)
            bring_back()
            for follower in (ann, cem):
                wait_for_state(follower, bob.id, "offline")
            with Client(third) as again:
                again.login(name=f"bob {name}", password="pw")
                for follower in (ann, cem):
                    wait_for_state(follower, bob.id, "online")


def test_a_node_whose_clock_was_put_back_is_heard_by_the_others(fleet: Fleet) -> None:
    first, second, _ = fleet.nodes
    with join(first, "ahead"), join(second, "listener") as listener, beating(listener):
        first.kill()
        # As if its clock had been an hour ahead until now; Redis has lost it.
        fleet.rows("UPDATE Device SET incarnation = incarnation + 3600000 WHERE node = 'n1'")
        with closing(fleet.redis.connect()) as client:
            client.flushall()
        first.start()
        state, node = fleet.rows("SELECT state, node FROM User WHERE name = 'ahead'")[0]
        assert (state, node) == ("offline", None)
        with join(first, "speaker") as speaker:
            speaker.done(ONE_CHAT, toid=listener.id, msg="can you hear me?")
            assert listener.wait(msgid=ONE_CHAT)["msg"] == "can you hear me?"
