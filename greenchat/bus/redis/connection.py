"""The two connections to Redis: one for commands, in pipelines, and one for a subscription."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gevent
import redis
from gevent.event import AsyncResult, Event
from redis.backoff import NoBackoff
from redis.retry import Retry

from greenchat.errors import Busy, ConfigError

logger = logging.getLogger(__name__)

TROUBLE = (redis.RedisError, OSError)
"""Errors of a Redis that is away or refuses; any other exception is a bug."""

ANSWER = 2.0
"""Seconds that Redis has to answer a command."""

SILENCE = 5.0
"""Seconds without a message after which a subscription is made anew: each second brings some."""

PAUSES = (0.0, 0.05, 0.2, 0.5)
"""Seconds before each further try to connect; the last one is repeated."""

Command = tuple[Any, ...]


class RedisServer:
    """The address of a Redis, and the options of connections to it.

    Args:
        url: ``redis://[user:password@]host[:port][/database]``, or ``rediss://`` for TLS.

    Attributes:
        database: the number of the database.
        where: the address, for people.

    Raises:
        ConfigError: the URL cannot be read; it is not repeated, since a password may stand in it.
    """

    def __init__(self, url: str) -> None:
        try:
            # protocol 2: messages come like answers.  No retry: the loss of a connection must be noticed,
            # because all that was published meanwhile is lost too.
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
        # Not by the pool's own method: that refuses once it has made max_connections, closed ones included.
        connection: Any = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.socket_timeout = timeout
        connection.socket_connect_timeout = ANSWER
        connection.connect()
        return connection


def exchange(connection: Any, *commands: Command) -> list[Any]:
    """Send commands one after the other by a connection, and return their answers.  May switch.

    Raises:
        RedisError: one of them is refused; the connection is of no use any more, as the others' answers may
            still be on their way.
    """
    connection.send_packed_command(connection.pack_commands(commands))
    return [connection.read_response() for _ in commands]


class _Queued(NamedTuple):
    """Commands in the queue; ``answer`` is None for those whose answers are not waited for."""

    commands: Sequence[Command]
    answer: Any


class Commands:
    """The connection for commands, made anew whenever it is lost.

    Commands go out in the order in which they were queued.  Those that gather while some are under way go
    together in the next pipeline.

    A command that Redis refuses (READONLY, OOM, MISCONF, NOPERM …) ends the connection like a loss of it:
    the server may not be the right one any more, and the next connection looks its name up again.

    Args:
        server: the Redis to connect to.

    Attributes:
        prefix: the beginning of the names of all keys of the cluster; known once its bus is opened.
    """

    def __init__(self, server: RedisServer) -> None:
        self.prefix = ""
        self._server = server
        self._connection: Any = None
        self._queue: list[_Queued] = []
        # An event, not a queue that blocks: ``wake`` also means that ``ready`` has frames to publish.
        self._wake = Event()
        self._closing = True
        self._greenlet: gevent.Greenlet | None = None

    def start(
        self,
        connected: Callable[[], None],
        ready: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Begin to send.

        Args:
            connected: is called with each new connection, before anything else is sent on it.  It may ask.
            ready: is called before each pipeline.  It may post.
            failed: is told of a failure: each command under way may or may not have been done.
        """
        self._connected = connected
        self._ready = ready
        self._failed = failed
        self._closing = False
        self._greenlet = gevent.spawn(self._run)

    def wake(self) -> None:
        """Have ``ready`` called, and the queue sent, soon."""
        self._wake.set()

    def post(self, *commands: Command) -> None:
        """Queue commands for the next pipeline, and do not wait for their answers."""
        self._queue.append(_Queued(commands, None))

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands one after the other, and return their answers.  May switch.

        Raises:
            Busy: Redis is away, or refuses a command: each of them may have been done.
        """
        if gevent.getcurrent() is self._greenlet:
            # Called by ``connected``: ahead of the queue, on the connection that has just been made.
            try:
                return exchange(self._connection, *commands)
            except TROUBLE as error:
                raise Busy(str(error)) from error
        # Nobody would answer: the greenlet has ended, or was never started.
        if self._closing:
            raise Busy
        queued = _Queued(commands, AsyncResult())
        self._queue.append(queued)
        self._wake.set()
        answers: list[Any] = queued.answer.get()
        return answers

    def close(self) -> None:
        """Send the queue, and disconnect.  May switch."""
        self._closing = True
        if self._greenlet is None:
            return
        self._wake.set()
        # Long enough for a connection and an answer; a broker that is stuck must not hold up the stopping.
        self._greenlet.join(2 * ANSWER)
        self._greenlet.kill()
        self._disconnect()
        queue, self._queue = self._queue, []
        _refuse(queue)

    def _run(self) -> None:
        failures = 0
        # Woken while it closes: what was queued before is still sent.
        while not self._closing or self._wake.is_set():
            self._wake.wait()
            self._wake.clear()
            queue: list[_Queued] = []
            try:
                try:
                    # It adds frames to the queue, so it comes before the queue is taken.  After a bug in it,
                    # the requests that wait are still answered.
                    self._ready()
                finally:
                    queue, self._queue = self._queue, []
                self._send(queue)
                failures = 0
            except Exception as error:
                self._disconnect()
                # While closing, the greenlet may be killed between a command and its answer.
                if not isinstance(error, (*TROUBLE, Busy)) and not self._closing:
                    logger.exception("a bug in talking to Redis")
                # First the bus, which must count as away before a request that was refused is tried again.
                self._failed(error)
                _refuse(queue)
                gevent.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    def _send(self, queue: list[_Queued]) -> None:
        commands = [command for queued in queue for command in queued.commands]
        if not commands:
            return
        if self._connection is None:
            # Connected only when there is something to send; positions see to that within 0.25 s.
            self._connection = self._server.connect(ANSWER)
            self._connected()
        # All answers are read before any is given out: if one is a refusal, the connection is done for, and
        # each request is told Busy, whether it was done or not.
        answers = iter(exchange(self._connection, *commands))
        for queued in queue:
            found = [next(answers) for _ in queued.commands]
            if queued.answer is not None:
                queued.answer.set(found)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


def _refuse(queue: list[_Queued]) -> None:
    """Raise Busy where the answers of these commands are waited for."""
    for queued in queue:
        if queued.answer is not None:
            queued.answer.set_exception(Busy("the servers cannot reach each other"))


class Subscription:
    """The connection for a subscription to one channel, made anew whenever it is lost.

    Args:
        server: the Redis to connect to.
        channel: the channel's name.
        subscribed: is told of each confirmation: messages published before may be lost.
        received: is given each message.  It must not switch.
        lost: is told of a failure, after which the subscription is made anew.
    """

    def __init__(
        self,
        server: RedisServer,
        channel: str,
        subscribed: Callable[[], None],
        received: Callable[[bytes], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._server = server
        self._channel = channel
        self._subscribed = subscribed
        self._received = received
        self._lost = lost
        self._greenlet = gevent.spawn(self._run)

    def renew(self) -> None:
        """Subscribe on a new connection, because the server may not be the right one any more."""
        # Not waited for: the caller is the command greenlet, which has to go on.
        self._greenlet.kill(block=False)
        self._greenlet = gevent.spawn(self._run)

    def close(self) -> None:
        """End the subscription."""
        self._greenlet.kill()

    def _run(self) -> None:
        failures = 0
        while True:
            connection = None
            try:
                # The timeout of reading is the watchdog: this node's own positions come four times a second.
                connection = self._server.connect(SILENCE)
                connection.send_command("SUBSCRIBE", self._channel)
                while True:
                    kind, _, content = connection.read_response()
                    if kind == b"message":
                        self._received(content)
                        # Not for the confirmation: a server may confirm, and then say nothing more.
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
