"""The table of scenarios."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from lab.bench import messages, people, requests
from lab.bench.bench import Bench
from lab.bench.figures import Row


class Scenario(NamedTuple):
    """Something that is measured.

    ``run(bench, name)`` returns its rows; their names begin with ``name``.
    """

    what: str
    run: Callable[[Bench, str], list[Row]]


STANDARD: dict[str, Scenario] = {
    "w1": Scenario("50 pairs, each waits for its message to arrive", partial(messages.pairs, window=1)),
    "w16": Scenario("50 pairs, each with 16 messages under way", partial(messages.peak, window=16)),
    "w64": Scenario("50 pairs, each with 64 messages under way", partial(messages.pairs, window=64)),
    **{
        f"group-{members}": Scenario(
            f"one group of {members:,}, one of them writes", partial(messages.group, members=members)
        )
        for members in (10, 200, 2000)
    },
    "offline": Scenario("one writes to an offline user, who then takes it all", messages.offline),
    "login-token": Scenario("logins by token, 50 at a time", people.by_token),
    "login-password": Scenario("logins by password, 8 at a time", people.by_password),
    **{
        f"idle-{connections}": Scenario(
            f"{connections:,} connections that do nothing, a heartbeat every 30 s",
            partial(people.idle, connections=connections),
        )
        for connections in (1000, 10_000)
    },
    "history-50": Scenario("pages of 50 out of 10,000 messages", partial(requests.history, limit=50)),
    "history-200": Scenario("pages of 200 out of 10,000 messages", partial(requests.history, limit=200)),
    "latency": Scenario("50 pairs at half of the rate of w16, whatever comes back", messages.latency),
}
"""The scenarios of a run without options."""

GROWTH: dict[str, Scenario] = {
    **{
        f"among-{connections}": Scenario(
            f"w16 among {connections:,} connections",
            partial(messages.pairs, window=16, connections=connections),
        )
        for connections in (100, 1000, 10_000)
    },
    **{
        f"group-{members}": Scenario(
            f"one group of {members:,}, one of them writes", partial(messages.group, members=members)
        )
        for members in (10, 50, 200, 1000, 2000, 5000)
    },
    **{
        f"login-of-{users}": Scenario(
            f"logins by token, {users:,} users in the database", partial(people.by_token, users=users)
        )
        for users in (1000, 1_000_000)
    },
    **{
        f"log-of-{rows}": Scenario(
            f"w16 with {rows:,} messages in the database", partial(messages.logs, rows=rows)
        )
        for rows in (1000, 10_000_000)
    },
    **{
        f"friends-of-{users}": Scenario(
            f"ARE_FRIENDS of 1,000 ids, 2,000 friends, {users:,} users in the database",
            partial(requests.are_friends, users=users),
        )
        for users in (10_000, 1_000_000)
    },
    **{
        f"heartbeat-{seconds}": Scenario(
            f"10,000 connections that do nothing, a heartbeat every {seconds} s",
            partial(people.idle, connections=10_000, heartbeat=seconds),
        )
        for seconds in (1, 30)
    },
}
"""The scenarios of ``--growth``: the cost of a message or a login among more and more data."""

ALL = STANDARD | GROWTH
