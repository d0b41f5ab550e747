"""The table of requests: the handler of each, and if it needs a login first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from greenchat.protocol import messages as m
from greenchat.service.device.caller import Caller
from greenchat.service.requests import accounts, friends, groups, history, login, messaging, read_marks


class Route(NamedTuple):
    """The handling of a request.

    ``handler(caller, request)`` returns the reply, or None if it comes later or never; it may
    switch, and raises ``RequestError`` if the request cannot be done.
    """

    handler: Callable[[Caller, Any], m.Answer | None]
    needs_login: bool = True


def _heartbeat(caller: Caller, request: m.Heartbeat) -> m.HeartbeatReply:
    return m.HeartbeatReply()


ROUTES: dict[type[m.Request], Route] = {
    m.Login: Route(login.login, needs_login=False),
    m.Loginout: Route(accounts.logout),
    m.Reg: Route(accounts.register, needs_login=False),
    m.ChangePassword: Route(accounts.change_password),
    m.Heartbeat: Route(_heartbeat, needs_login=False),
    m.OneChat: Route(messaging.one_chat),
    m.GroupChat: Route(messaging.group_chat),
    m.Recall: Route(messaging.recall),
    m.Received: Route(read_marks.received),
    m.Typing: Route(read_marks.typing),
    m.Read: Route(read_marks.read),
    m.History: Route(history.history),
    m.Sync: Route(history.sync),
    m.AddFriend: Route(friends.add_friend),
    m.RemoveFriend: Route(friends.remove_friend),
    m.Block: Route(friends.block),
    m.Unblock: Route(friends.unblock),
    m.AreFriends: Route(friends.are_friends),
    m.Find: Route(friends.find),
    m.CreateGroup: Route(groups.create_group),
    m.AddGroup: Route(groups.add_group),
    m.LeaveGroup: Route(groups.leave_group),
    m.GroupInfo: Route(groups.group_info),
}
