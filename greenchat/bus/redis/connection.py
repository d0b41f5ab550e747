"""The two connections to Redis: one for commands, in pipelines, and one that listens to a channel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import gevent
import redis
from gevent.event import AsyncResult, Event
from redis.backoff import NoBackoff
from redis.retry import Retry

from greenchat.errors import Busy, ConfigError

logger = logging.getLogger(__name__)

TROUBLE = (redis.RedisError, OSError)
"""What a Redis raises that is away or in trouble; anything else is a bug."""

ANSWER = 2.0
"""Seconds that Redis has to answer a command."""

SILENCE = 5.0
"""Seconds without a message after which a subscription is made anew: each second brings one."""

PAUSES = (0.0, 0.05, 0.2, 0.5)
"""Seconds before the next tries to connect; from then on the last."""

Command = tuple[Any, ...]


class RedisServer:
    """Where Redis is, and how it is connected to.

    Args:
        url: ``redis://`` or ``rediss://`` (TLS), as redis-py takes it.

    Raises:
        ConfigError: the URL is none; it is not repeated, since a password may stand in it.
    """

    def __init__(self, url: str) -> None:
        try:
            # protocol 2: messages come like answers.  No retry: a connection that was lost must be
            # noticed, because what was published meanwhile is lost too.
            self._pool = redis.ConnectionPool.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0))
        except ValueError as error:
            raise ConfigError(f"bus: {error}") from None
        options = self._pool.connection_kwargs
        self.database = int(options.get("db") or 0)
        self.where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    def connect(self, timeout: float) -> Any:
        """Return a new connection.

        Args:
            timeout: seconds that an answer may take.
        """
        # Not by the pool's own method: that makes so many in the pool's life, and then no more.
        connection: Any = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.socket_timeout = timeout
        connection.socket_connect_timeout = ANSWER
        connection.connect()
        return connection


Ask = Callable[..., list[Any]]
"""``ask(*commands)``: send commands one after the other, and return their answers.  May switch."""


def exchange(connection: Any, *commands: Command) -> list[Any]:
    """Send commands one after the other by a connection, and return their answers.  May switch.

    Raises:
        RedisError: one of them is refused; the connection is of no use any more, as the others' answers may
            still be on their way.
    """
    connection.send_packed_command(connection.pack_commands(commands))
    return [connection.read_response() for _ in commands]


class _Asked(NamedTuple):
    commands: Sequence[Command]
    answer: Any


class Commands:
    """Sends commands; what gathers while some are under way goes with the next.

    A command that Redis refuses (READONLY, OOM, MISCONF, NOPERM …) ends the connection like a loss of it:
    the server may not be the right one any more, and the next connection looks its name up again.

    Args:
        link: the way to Redis.
        first: is given each new connection's way of asking before anything else is sent on it.
        posts: returns more commands to be sent along, whose answers are not waited for.
        failed: is told of a failure: each command under way may or may not have been done.
    """

    def __init__(
        self,
        link: RedisServer,
        first: Callable[[Ask], None],
        posts: Callable[[], list[Command]],
        failed: Callable[[Exception], None],
    ) -> None:
        self._link = link
        self._first = first
        self._posts = posts
        self._failed = failed
        self._connection: Any = None
        self._asks: list[_Asked] = []
        self._wake = Event()
        self._closing = False
        self._greenlet = gevent.spawn(self._run)

    def wake(self) -> None:
        """Have the posts sent soon."""
        self._wake.set()

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands one after the other, and return their answers.  May switch.

        Raises:
            Busy: Redis is away, or refuses a command: each of them may have been done.
        """
        if self._closing:
            raise Busy
        asked = _Asked(commands, AsyncResult())
        self._asks.append(asked)
        self._wake.set()
        answers: list[Any] = asked.answer.get()
        return answers

    def close(self) -> None:
        """Send what waits, and disconnect.  May switch."""
        self._closing = True
        self._wake.set()
        self._greenlet.join(2 * ANSWER)
        self._greenlet.kill()
        self._disconnect()

    def _run(self) -> None:
        failures = 0
        while not self._closing or self._wake.is_set():
            self._wake.wait()
            self._wake.clear()
            asks, self._asks = self._asks, []
            try:
                self._send(asks, self._posts())
                failures = 0
            except Exception as error:
                self._disconnect()
                if not isinstance(error, TROUBLE) and not self._closing:  # else it may be killed in mid-word
                    logger.exception("a bug in talking to Redis")
                self._failed(error)
                for asked in asks:
                    asked.answer.set_exception(Busy("the servers cannot reach each other"))
                gevent.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    def _send(self, asks: list[_Asked], posts: list[Command]) -> None:
        commands = [command for asked in asks for command in asked.commands] + posts
        if not commands:
            return
        if self._connection is None:
            self._connection = self._link.connect(ANSWER)
            self._first(partial(exchange, self._connection))
        answers = iter(exchange(self._connection, *commands))
        for asked in asks:
            asked.answer.set([next(answers) for _ in asked.commands])

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


class Subscription:
    """Listens to a channel, for as long as it is wanted.

    Args:
        link: where to.
        channel: its name.
        subscribed: is told of each confirmation: what was published before may be lost.
        received: is given each message.  It must not switch.
        lost: is told of a failure, after which the subscription is made anew.
    """

    def __init__(
        self,
        link: RedisServer,
        channel: str,
        subscribed: Callable[[], None],
        received: Callable[[bytes], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._link = link
        self._channel = channel
        self._subscribed = subscribed
        self._received = received
        self._lost = lost
        self._greenlet = gevent.spawn(self._run)

    def renew(self) -> None:
        """Subscribe on a new connection, because the server may not be the right one any more."""
        self._greenlet.kill(block=False)
        self._greenlet = gevent.spawn(self._run)

    def close(self) -> None:
        """Listen no more."""
        self._greenlet.kill()

    def _run(self) -> None:
        failures = 0
        while True:
            connection = None
            try:
                connection = self._link.connect(SILENCE)
                connection.send_command("SUBSCRIBE", self._channel)
                while True:
                    kind, _, content = connection.read_response()
                    if kind == b"message":
                        self._received(content)
                        failures = 0
                    elif kind == b"subscribe":
                        self._subscribed()
            except Exception as error:
                if not isinstance(error, TROUBLE):
                    logger.exception("a bug in listening to Redis")
                self._lost(error)
            finally:
                if connection is not None:
                    connection.disconnect()
            gevent.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1
