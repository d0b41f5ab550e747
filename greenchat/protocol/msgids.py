"""The numbers of the messages and the edition: all that the client library needs of the messages."""

from __future__ import annotations

from enum import IntEnum

EDITION = 2
"""The newest edition of the protocol (docs/protocol.md, Editions)."""


class MsgId(IntEnum):
    """The ``msgid`` of every message."""

    LOGIN = 1
    LOGIN_ACK = 2
    LOGINOUT = 3
    REG = 4
    REG_ACK = 5
    ONE_CHAT = 6
    ADD_FRIEND = 7
    CREATE_GROUP = 8
    ADD_GROUP = 9
    GROUP_CHAT = 10
    ACK = 11
    HEARTBEAT = 12
    RECEIVED = 13
    ERROR = 14
    HISTORY = 15
    HISTORY_ACK = 16
    RECALL = 17
    REMOVE_FRIEND = 18
    BLOCK = 19
    UNBLOCK = 20
    LEAVE_GROUP = 21
    ARE_FRIENDS = 22
    PRESENCE = 23
    BYE = 24
    SYNC = 25
    TYPING = 26
    READ = 27
    CHANGE_PASSWORD = 28
    GROUP_INFO = 29
    FIND = 30
