"""The commands of ``greenchat-admin hook``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from greenchat.errors import BadRequest
from greenchat.model.records import Hook
from greenchat.outgoing.destination import NoDestination, parse, resolve
from greenchat.outgoing.hooks import OutgoingHooks
from greenchat.outgoing.sender import Terms
from greenchat.outgoing.signing import new_secret
from greenchat.server.control import Command
from greenchat.service.requests import hooks
from greenchat.service.service import Service

BY_OPERATOR = "by the operator"
"""The reason of a hook that ``hook disable`` switched off."""

_log = logging.getLogger(__name__)


class AddIncoming(Struct, tag_field="command", tag="hook add-in", forbid_unknown_fields=True):
    """Make an incoming hook that writes to a group or to a user."""

    bot: str
    group: str | None = None
    user: str | None = None
    account: bool = False


class AddOutgoing(Struct, tag_field="command", tag="hook add-out", forbid_unknown_fields=True):
    """Make an outgoing hook."""

    bot: str
    url: str
    groups: list[str] = []
    account: bool = False


class List(Struct, tag_field="command", tag="hook list", forbid_unknown_fields=True):
    """List all hooks."""


class Change(Struct, tag_field="command", tag="hook change", forbid_unknown_fields=True):
    """Remove a hook, or switch it on or off."""

    id: int
    action: str


class HookCommands:
    """Make, list and change hooks for the operator.

    Args:
        service: of this node.
        outgoing: the hooks that go out from here.
        terms: the operator's settings.
    """

    def __init__(self, service: Service, outgoing: OutgoingHooks, terms: Terms) -> None:
        self._service = service
        self._outgoing = outgoing
        self._terms = terms
        self.table: dict[type, Command] = {
            AddIncoming: self._add_in,
            AddOutgoing: self._add_out,
            List: self._list,
            Change: self._change,
        }

    def _add_in(self, request: AddIncoming) -> dict[str, Any]:
        if (request.group is None) == (request.user is None):
            raise BadRequest(
                "an incoming hook writes to a group or to a user: say which, and one of them only"
            )
        target = hooks.Target(request.group, request.user)
        hook, code = hooks.add_incoming(self._service, request.bot, target, request.account)
        _log.info("hook %d was made: incoming, as %r", hook.id, hook.name)
        return {"id": hook.id, "bot": hook.name, "path": f"/hooks/{code}"}

    def _add_out(self, request: AddOutgoing) -> dict[str, Any]:
        terms = self._terms
        try:
            resolve(parse(request.url, terms.allow_http), terms.allowed)
        except NoDestination as error:
            raise BadRequest(f"{error}{_advice(str(error))}") from None
        secret = new_secret()
        hook = hooks.add_outgoing(
            self._service, request.bot, request.url, secret, request.groups, request.account
        )
        self._outgoing.sync()
        _log.info("hook %d was made: outgoing, of %r", hook.id, hook.name)
        return {"id": hook.id, "bot": hook.name, "secret": secret}

    def _list(self, request: List) -> list[dict[str, Any]]:
        return [_shown(listed) for listed in hooks.listed(self._service)]

    def _change(self, request: Change) -> dict[str, Any]:
        hook = self._hook(request.id)
        actions: dict[str, Callable[[Hook], object]] = {
            "remove": lambda hook: self._service.store.remove_hook(hook.id),
            "enable": lambda hook: self._switch(hook, ""),
            "disable": lambda hook: self._switch(hook, BY_OPERATOR),
        }
        if request.action not in actions:
            raise BadRequest(f"{request.action!r} is nothing that can be done to a hook")
        actions[request.action](hook)
        self._outgoing.sync()
        _log.info("hook %d of %r: %s by the operator", hook.id, hook.name, request.action)
        return {"id": hook.id, "bot": hook.name}

    def _hook(self, number: int) -> Hook:
        for hook in self._service.store.hooks():
            if hook.id == number:
                return hook
        raise BadRequest(f"there is no hook {number}: see greenchat-admin hook list")

    def _switch(self, hook: Hook, reason: str) -> None:
        if not hook.url:
            raise BadRequest(f"hook {hook.id} is an incoming one: remove it to end it, and make another one")
        self._service.store.end_hook(hook.id, reason)
        if not reason:
            self._outgoing.restart(hook.id)


def _shown(listed: hooks.Listed) -> dict[str, Any]:
    hook = listed.hook
    if not hook.url:
        state = ""
    elif hook.ended:
        state = f"off: {hook.ended}"
    else:
        state = f"failing: {listed.failures[0]}" if listed.failures else "on"
    return {
        "id": hook.id,
        "kind": "out" if hook.url else "in",
        "bot": hook.name,
        "target": without_query(hook.url) if hook.url else listed.target,
        "state": state,
        "failing": len(listed.failures),
        "created": hook.created,
    }


def without_query(url: str) -> str:
    """Return a URL without its query: receivers keep their secrets there."""
    parts = urlsplit(url)
    return parts._replace(query="…" if parts.query else "").geturl()


def _advice(error: str) -> str:
    if "open internet" in error:
        return ": list its network in the setting hook_private to allow it"
    return " (or switch the setting hook_http on, for tests)" if "https://" in error else ""
