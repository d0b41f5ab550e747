"""Hooks: make and list them for the operator."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from greenchat.errors import BadRequest, NameTaken, NoSuchGroup, NoSuchUser, NotAllowed
from greenchat.model.conversations import group_of, of_group, of_pair, peer_of
from greenchat.model.records import Hook, NewHook
from greenchat.service.requests.groups import join
from greenchat.service.requests.names import new_name
from greenchat.service.service import Service

CODE_BYTES = 24
"""Random bytes of a code: 192 bits."""

NO_PASSWORD = "!"
"""In place of the hash of a bot's password: none matches it."""


class Target(NamedTuple):
    """The group or the user that an incoming hook writes to, by exact name; one of them is None."""

    group: str | None
    user: str | None


class Listed(NamedTuple):
    """A hook as the operator is shown it.

    Attributes:
        hook: the hook.
        target: where an incoming one writes to, in words; empty for an outgoing one.
        failures: the reasons for which an outgoing one could not deliver, one a conversation.
    """

    hook: Hook
    target: str
    failures: list[str]


def add_incoming(service: Service, bot: str, target: Target, use_account: bool) -> tuple[Hook, str]:
    """Make an incoming hook; return it, and its code, which is kept nowhere.  May switch.

    Args:
        service: of this node.
        bot: the name under which it writes; the bot is made if there is no such user.
        target: where it writes to; the bot joins the group.
        use_account: the bot may be an account that somebody can log in to.

    Raises:
        RequestError: a name cannot be one, or there is no such group or user.
    """
    groupid = None if target.group is None else _group_named(service, target.group)
    receiver = None if target.user is None else _user_named(service, target.user)
    userid = _bot(service, bot, use_account)
    if groupid is not None:
        join(service, userid, groupid)
        conversation = of_group(groupid)
    else:
        assert receiver is not None
        conversation = of_pair(userid, receiver)
    code = secrets.token_urlsafe(CODE_BYTES)
    return service.store.add_hook(NewHook(key_of(code), userid, conversation), service.now()), code


def add_outgoing(
    service: Service, bot: str, url: str, secret: str, groups: Iterable[str], use_account: bool
) -> Hook:
    """Make an outgoing hook.  May switch.

    Args:
        service: of this node.
        bot: the user whose entries it sends; made if there is none of this name.
        url: where to; it has been checked.
        secret: with which it signs.
        groups: names of groups that the bot joins.
        use_account: as for ``add_incoming``.

    Raises:
        RequestError: a name cannot be one, there is no such group, or the bot has too many hooks.
    """
    joining = [_group_named(service, name) for name in groups]
    userid = _bot(service, bot, use_account)
    limit = service.limits.max_devices_online
    if sum(hook.userid == userid and hook.url != "" for hook in service.store.hooks()) >= limit:
        raise NotAllowed(f"{bot!r} has {limit} outgoing hooks, as many as devices of a user may be online")
    for groupid in joining:
        join(service, userid, groupid)
    key = key_of(secrets.token_urlsafe(CODE_BYTES))
    return service.store.add_hook(NewHook(key, userid, url=url, secret=secret), service.now())


def listed(service: Service) -> list[Listed]:
    """Return all hooks, by id, as the operator is shown them.  May switch."""
    shown = []
    for hook in service.store.hooks():
        failures = service.store.hook_failures(hook.id).values() if hook.url else ()
        reasons = [f"{failure.reason} since {failure.since}" for failure in failures]
        shown.append(Listed(hook, "" if hook.url else _target(service, hook), reasons))
    return shown


def key_of(code: str) -> str:
    """Return the key under which the hook with a code is kept."""
    return hashlib.sha256(code.encode()).hexdigest()


def _target(service: Service, hook: Hook) -> str:
    groupid = group_of(hook.conversation)
    try:
        if groupid is not None:
            return f"group {service.store.group(hook.userid, id=groupid).name!r}"
        return f"user {service.store.user(id=peer_of(hook.conversation, hook.userid)).name!r}"
    except (NoSuchGroup, NoSuchUser):
        return "nobody: it was deleted"


def _group_named(service: Service, name: str) -> int:
    try:
        return service.store.group(0, name=name).id
    except NoSuchGroup:
        raise NoSuchGroup(f"there is no group {name!r}") from None


def _user_named(service: Service, name: str) -> int:
    try:
        return service.store.user(name=name).id
    except NoSuchUser:
        raise NoSuchUser(f"there is no user {name!r}") from None


def _bot(service: Service, name: str, use_account: bool) -> int:
    """Return the id of a bot, which is made if there is no user of the name.  May switch."""
    account = service.store.account(name=name)
    if account is None:
        clean = new_name("name", name, service.limits.max_name)
        try:
            return service.store.create_user(clean, NO_PASSWORD, service.now())
        except NameTaken:
            account = service.store.account(name=clean)
    if account is None or (account.password != NO_PASSWORD and not use_account):
        raise BadRequest(
            f"{name!r} is an account with a password: choose another name for the bot,"
            " or say --account if the hook is to act for that account"
        )
    return account.id
