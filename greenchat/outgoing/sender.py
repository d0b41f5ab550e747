"""One outgoing hook: the entries of a bot's device, each POSTed until it was taken.

::

    log ──► stream of the device ──take──► line of its conversation ──POST──► receiver
              ▲        room: a line holds few entries, the others stay in the log
              └── the cursor moves with each 2xx, and is committed before the next POST of the conversation

A line tries its first entry until it gets a 2xx, so the entries of a conversation arrive in order; lines do
not wait for each other.  A kill at any moment sends at most the last entry of each conversation again.

=====================  ============================================================================
outcome of a try       effect
=====================  ============================================================================
2xx                    the cursor moves (``Store.hook_delivered``), the next entry follows
410                    the hook is switched off
anything else          kept as a ``Failure``, tried again after 1 s, 2 s, 4 s … 1 h, each with jitter
... for three days     the hook is switched off
the entry was recalled the next try sends it as it is then (``HookDevice.again``)
the bot has left       nothing is sent; the entry is dropped if it is before the next joining
=====================  ============================================================================
"""

from __future__ import annotations

import logging
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic, time
from typing import NamedTuple

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from greenchat.errors import AlreadyOnline, Busy
from greenchat.metrics import OUTGOING_DELIVERIES, OUTGOING_SECONDS
from greenchat.model.conversations import entry_name
from greenchat.model.instants import to_instant, to_seconds
from greenchat.model.records import Failure, Hook
from greenchat.outgoing.destination import Network, NoDestination, parse, resolve
from greenchat.outgoing.post import Answer, NoAnswer, post
from greenchat.outgoing.signing import signed_headers
from greenchat.ports.hooks import HookDevice, HookHost, Parcel, Sink
from greenchat.ports.store import Store

WINDOW = 32
"""Entries of a conversation in memory."""

MOST = 512
"""Entries of a hook in memory; beyond, a conversation has room for one."""

LINES = 1_024
"""Conversations of a hook in memory."""

AT_A_TIME = 4
"""Requests of a hook at a time."""

SHORTEST, LONGEST = 1.0, 3_600.0
"""Seconds between two tries."""

BUSY_PAUSE = 1.0
"""Seconds after which a database that is away is asked again."""

FRESH = 0.5
"""Seconds for which an entry is sent as it was taken.  Later it is read again: it may have been recalled."""

GONE = 410
"""The status with which a receiver says that it wants no more."""

MOST_REASON = 200
"""Characters of a reason: as many as the database holds."""

_log = logging.getLogger(__name__)


class Terms(NamedTuple):
    """The operator's settings for outgoing hooks.

    Attributes:
        allow_http: URLs may begin with http.
        allowed: networks to which they may lead though they are not of the open internet.
        give_up: seconds of failure after which a hook is switched off.
    """

    allow_http: bool
    allowed: list[Network]
    give_up: float


class Outcome(NamedTuple):
    """The result of one try.

    Attributes:
        reason: of the failure; empty for a 2xx.
        is_final: the receiver wants no more.
        retry_after: seconds for which it asks; None if it does not.
    """

    reason: str = ""
    is_final: bool = False
    retry_after: float | None = None


class Line:
    """The entries of one conversation that are to be delivered.

    Attributes:
        parcels: in order, each with the monotonic time at which it was taken; the first is being delivered.
        delivered: the seq of the last entry that was delivered from this line, 0 for none.
        worker: delivers them; None while there is nothing to do.
        is_posting: a request is under way.
    """

    __slots__ = ("delivered", "is_posting", "parcels", "worker")

    def __init__(self) -> None:
        self.parcels: deque[tuple[Parcel, float]] = deque()
        self.delivered = 0
        self.worker: gevent.Greenlet | None = None
        self.is_posting = False


class Sender(Sink):
    """Deliver the entries of one outgoing hook, while its device is online at this node.

    Args:
        hook: the hook.
        store: keeps cursors and failures.
        terms: the operator's settings.
        switch_off: ``switch_off(hook, reason)`` ends the hook for good; called from a greenlet of its own.
    """

    def __init__(
        self, hook: Hook, store: Store, terms: Terms, switch_off: Callable[[Hook, str], object]
    ) -> None:
        self.hook = hook
        self._store = store
        self._terms = terms
        self._switch_off = switch_off
        self._device: HookDevice | None = None
        self._is_open = False
        self._lines: OrderedDict[int, Line] = OrderedDict()
        self._held = 0
        self._failures: dict[int, Failure] = {}
        self._turns = BoundedSemaphore(AT_A_TIME)
        self._delivered = Event()

    # -- The device

    @property
    def is_open(self) -> bool:
        return self._is_open

    def open(self, host: HookHost) -> None:
        """Take the lease of the hook: make its device online here.  Switches.

        Raises:
            AlreadyOnline: another node has it.
            RequestError: as ``HookHost.log_in``, or the database is away.
        """
        self._failures = self._store.hook_failures(self.hook.id)
        self._is_open = True
        try:
            self._device = host.log_in(self.hook, self)
        except BaseException:
            self._is_open = False
            raise
        if not self._is_open:  # the service has ended it meanwhile
            self._device.log_out()
            raise AlreadyOnline
        self.kick()

    def close(self, seconds: float = 0.0) -> None:
        """Give the lease back.  Switches.

        Args:
            seconds: requests that are under way may take so long.
        """
        self._is_open = False
        workers = [line.worker for line in self._lines.values() if line.worker is not None]
        posting = [line.worker for line in self._lines.values() if line.is_posting]
        if seconds and posting:
            gevent.joinall(posting, seconds)
        gevent.killall([worker for worker in workers if worker is not gevent.getcurrent()])
        self._delivered.set()
        if self._device is not None:
            self._device.log_out()

    def ended(self, reason: str) -> None:
        if self._is_open:
            self._is_open = False
            _log.info("hook %d: its device was logged out here: %s", self.hook.id, reason)
            gevent.spawn(self.close)

    # -- Entries

    def room(self, conversation: int) -> int:
        line = self._lines.get(conversation)
        held = 0 if line is None else len(line.parcels)
        if not self._is_open or (line is None and len(self._lines) >= LINES and not self._drop_idle()):
            return 0
        return WINDOW - held if self._held + WINDOW - held <= MOST else max(0, 1 - held)

    def wants_page(self, conversation: int) -> bool:
        room = self.room(conversation)
        line = self._lines.get(conversation)
        return room >= WINDOW // 2 or (room > 0 and (line is None or not line.parcels))

    def take(self, parcel: Parcel) -> None:
        line = self._lines.get(parcel.conversation)
        if line is None:
            line = self._lines[parcel.conversation] = Line()
        self._lines.move_to_end(parcel.conversation)
        last = line.parcels[-1][0].seq if line.parcels else 0
        if parcel.seq > last and self._is_open:
            line.parcels.append((parcel, monotonic()))
            self._held += 1
            self._work(parcel.conversation, line)

    def wait_room(self, seconds: float) -> None:
        self._delivered.clear()
        self._delivered.wait(seconds)

    def kick(self) -> None:
        """Begin with the entries that could not be looked at before.  Does not switch."""
        for conversation, line in self._lines.items():
            if line.parcels:
                self._work(conversation, line)

    def _drop_idle(self) -> bool:
        """Forget the line that has been without an entry for longest; return False if there is none."""
        for conversation, line in self._lines.items():
            if line.worker is None and not line.parcels:
                del self._lines[conversation]
                return True
        return False

    def _work(self, conversation: int, line: Line) -> None:
        if self._device is not None and line.worker is None:
            line.worker = gevent.spawn(self._run, self._device, conversation, line)

    def _run(self, device: HookDevice, conversation: int, line: Line) -> None:
        """Deliver the entries of a line, one after the other."""
        try:
            while line.parcels and self._is_open:
                try:
                    if not self._deliver_first(device, conversation, line):
                        break
                except Busy:
                    gevent.sleep(BUSY_PAUSE)
        except Exception:
            _log.exception("hook %d: a bug in a delivery", self.hook.id)
        finally:
            line.worker = None

    def _deliver_first(self, device: HookDevice, conversation: int, line: Line) -> bool:
        """Deliver the first entry of a line, or fail to; return False if it has to wait for something else.

        Raises:
            Busy: the database is away; nothing was lost by it.
        """
        failure = self._failures.get(conversation)
        if failure is not None:
            gevent.sleep(max(0.0, min(LONGEST, to_seconds(failure.next_try) - time())))
        # Race: the turn may come late, and the entry be recalled, or the bot leave, before it does.
        with self._turns:
            return self._is_open and self._deliver_now(device, conversation, line, failure)

    def _deliver_now(
        self, device: HookDevice, conversation: int, line: Line, failure: Failure | None
    ) -> bool:
        """Deliver the first entry of a line in its turn, as ``_deliver_first``."""
        parcel: Parcel | None
        parcel, taken = line.parcels[0]
        seq = parcel.seq
        if failure is not None or monotonic() - taken > FRESH:
            parcel = device.again(conversation, seq)
        joined = device.joined(conversation)
        if joined is None:
            return False  # what is in front of a joining is dropped then
        if parcel is None or seq <= joined:
            self._keep_delivered(conversation, seq, line)
        elif seq <= line.delivered and self._has(conversation, seq):
            self._done(line)  # a page of the log was read before it was delivered
        elif parcel.body is None and failure is None:
            device.received(conversation, seq)
            self._done(line)
        elif parcel.body is None:
            self._keep_delivered(conversation, seq, line)
        else:
            return self._post_first(conversation, seq, line, parcel.body)
        return True

    def _post_first(self, conversation: int, seq: int, line: Line, body: bytes) -> bool:
        """POST the first entry of a line; return False if the hook ends."""
        if not self._is_open:
            return False
        line.is_posting = True
        try:
            outcome = self._try(entry_name(conversation, seq), body)
            return self._settle(conversation, seq, line, outcome)
        finally:
            line.is_posting = False

    def _settle(self, conversation: int, seq: int, line: Line, outcome: Outcome) -> bool:
        """Act on the outcome of a try; return False if the hook ends."""
        if not outcome.reason:
            self._keep_delivered(conversation, seq, line)
            return True
        failure = self._failure(self._failures.get(conversation), outcome)
        self._failures[conversation] = failure
        lasted = time() - to_seconds(failure.since)
        if outcome.is_final or lasted >= self._terms.give_up:
            self._is_open = False
            hours = f" (for {lasted / 3600:.0f} h)" if not outcome.is_final else ""
            gevent.spawn(self._switch_off, self.hook, f"{outcome.reason}{hours}"[:MOST_REASON])
            return False
        if failure.tries == 1:
            _log.warning("hook %d: %s; it is tried again", self.hook.id, outcome.reason)
        self._store.hook_failed(self.hook.id, conversation, failure)
        return True

    def _keep_delivered(self, conversation: int, seq: int, line: Line) -> None:
        """Commit that an entry is done with, however long that takes: the next one must wait for it."""
        while True:
            try:
                self._store.hook_delivered(self.hook, conversation, seq)
                break
            except Busy:
                gevent.sleep(BUSY_PAUSE)
        self._failures.pop(conversation, None)
        line.delivered = seq
        self._done(line)

    def _has(self, conversation: int, seq: int) -> bool:
        """Return True if an entry was delivered, by the database: it may have been set back since."""
        place = (self.hook.userid, self.hook.device)
        return self._store.cursors(conversation, [place]).get(place, 0) >= seq

    def _done(self, line: Line) -> None:
        line.parcels.popleft()
        self._held -= 1
        self._delivered.set()

    # -- One try

    def _failure(self, before: Failure | None, outcome: Outcome) -> Failure:
        tries, now = 1 if before is None else before.tries + 1, time()
        since = to_instant(now) if before is None else before.since
        wait = pause_after(tries, outcome.retry_after)
        return Failure(since, tries, to_instant(now + wait), outcome.reason[:MOST_REASON])

    def _try(self, id: str, body: bytes) -> Outcome:
        """POST an entry once.  Switches."""
        begun = monotonic()
        try:
            answer = self._post(id, body)
        except (NoAnswer, NoDestination) as error:
            outcome = Outcome(str(error))
        else:
            outcome = judge(answer)
        OUTGOING_SECONDS.observe(monotonic() - begun)
        OUTGOING_DELIVERIES.values["failed" if outcome.reason else "delivered"] += 1
        return outcome

    def _post(self, id: str, body: bytes) -> Answer:
        destination = parse(self.hook.url, self._terms.allow_http)
        addresses = resolve(destination, self._terms.allowed)
        return post(destination, addresses, signed_headers(self.hook.secret, id, int(time()), body), body)


def judge(answer: Answer) -> Outcome:
    """Return the outcome of a try that was answered."""
    status = answer.status
    if 200 <= status < 300:
        return Outcome()
    if status == GONE:
        return Outcome("status 410: the receiver wants no more", is_final=True)
    if 300 <= status < 400:
        return Outcome(f"status {status}: redirects are not followed")
    return Outcome(f"status {status}", retry_after=answer.retry_after)


def pause_after(tries: int, at_least: float | None = None) -> float:
    """Return the seconds to wait after so many failed tries: 1 s at first, then twice as long each time.

    Up to half of it is drawn by lot: the hooks of a receiver that comes back do not all come at once.

    Args:
        tries: from 1.
        at_least: seconds for which the receiver asks.
    """
    pause = min(LONGEST, SHORTEST * 2.0 ** min(tries - 1, 30)) * random.uniform(1, 1.5)
    return min(LONGEST, max(pause, at_least or 0))
