"""All outgoing hooks of a node: it takes those that no other node has, and gives up what is removed."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

import gevent
from gevent.lock import RLock

from greenchat.errors import AlreadyOnline, Busy, RequestError
from greenchat.model.records import Hook
from greenchat.outgoing.sender import Sender, Terms
from greenchat.ports.hooks import HookHost
from greenchat.ports.store import Store

PAUSE = 2.0
"""Seconds between two looks at the table of hooks.  Other nodes change it, and nodes die."""

_log = logging.getLogger(__name__)


class OutgoingHooks:
    """Deliver the entries of all hooks whose lease this node gets.

    Each node tries to make the device of each hook online, and one of them succeeds.  When that one dies, its
    devices are free again within the bounds of any login, and another node follows.

    Args:
        store: has the hooks.
        host: makes their devices online.
        terms: the operator's settings.
    """

    def __init__(self, store: Store, host: HookHost, terms: Terms) -> None:
        self._store = store
        self._host = host
        self._terms = terms
        self._senders: dict[int, Sender] = {}
        self._told: dict[int, str] = {}
        self._syncing = RLock()
        self._loop: gevent.Greenlet | None = None

    def __len__(self) -> int:
        """Return the number of hooks that this node has the lease of."""
        return sum(sender.is_open for sender in self._senders.values())

    def start(self) -> None:
        """Begin.  Does not switch."""
        self._loop = gevent.spawn(self._run)

    def stop(self, seconds: float) -> None:
        """Give all leases back.  Switches.

        Args:
            seconds: requests that are under way may take so long.
        """
        if self._loop is not None:
            self._loop.kill()
        gevent.joinall([gevent.spawn(sender.close, seconds) for sender in self._senders.values()])
        self._senders.clear()

    def sync(self) -> None:
        """Follow the table of hooks.  Switches.

        Raises:
            Busy: the database is away.
        """
        with self._syncing:
            hooks = {hook.id: hook for hook in self._store.hooks() if hook.url and not hook.ended}
            for number, sender in list(self._senders.items()):
                if not sender.is_open or hooks.get(number) != sender.hook:
                    del self._senders[number]
                    sender.close()
                else:
                    sender.kick()
            for number, hook in hooks.items():
                if number not in self._senders:
                    self._open(hook)

    def restart(self, hookid: int) -> None:
        """Try a hook again at once that waits after failures here.  Switches."""
        with self._syncing:
            sender = self._senders.pop(hookid, None)
            if sender is not None:
                sender.close()

    def _run(self) -> None:
        while True:
            try:
                self.sync()
            except Busy:
                pass  # the log has been told
            except Exception:
                _log.exception("a bug in the supervision of hooks")
            gevent.sleep(PAUSE)

    def _open(self, hook: Hook) -> None:
        sender = Sender(hook, self._store, self._terms, self.switch_off)
        try:
            sender.open(self._host)
        except AlreadyOnline:
            return
        except Busy:
            raise
        except RequestError as error:
            if self._told.get(hook.id) != str(error):
                self._told[hook.id] = str(error)
                _log.warning("hook %d of %r does not start: %s", hook.id, hook.name, error)
            return
        self._told.pop(hook.id, None)
        self._senders[hook.id] = sender

    def switch_off(self, hook: Hook, reason: str) -> None:
        """Switch a hook off, and tell the operator.  Switches."""
        _log.error(
            "hook %d of %r is switched off: %s; greenchat-admin hook enable %d switches it on",
            hook.id,
            hook.name,
            reason,
            hook.id,
        )
        keep = partial(self._store.end_hook, hook.id, reason)
        while True:
            try:
                keep()
                break
            except Busy:
                gevent.sleep(PAUSE)
        with suppress(Busy):  # the next look will see it
            self.sync()
