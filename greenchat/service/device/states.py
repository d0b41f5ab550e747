"""The states of one conversation on one connection, and the events that change them: the table.

Theory
======

The entries of a conversation reach a connection in three ways: in pages that its client asks for (LOGIN,
SYNC), in pages that the server reads from the log by itself (catching up), and live, as they are committed.
All three go on at the same time.  A read of the log may switch greenlets: between the question and its answer
entries are committed, users join and leave, and connections end.  In any interleaving

1. a connection is sent each seq of a conversation once, and in order;
2. no entry between the device's cursor and the head of the log is skipped;
3. no entry is sent that is not after the user's joining, nor any once word of the leaving has come.

Two seqs of a conversation are enough.  Up to ``sent`` nothing has to be sent any more: it was sent on this
connection, or the device had it before.  ``head`` is the last entry that is known to be in the log.  The
entries between them are the *backlog*.  They stay in the log: a live entry that cannot be sent now raises
``head``, and that is all.

States
======

===========  ===================================================================  ========================
state        meaning                                                              ends
===========  ===================================================================  ========================
HOLDING      the login is being answered, so entries are held back                with LOGIN_ACK
LIVE         the connection has everything, so an entry is sent as it comes       when entries are missing
CAUGHT_UP    ``sent == head``, so the next entry to be sent is ``sent + 1``       with that entry
PAGING       ``sent < head``, and the client asks for the backlog with SYNC       with the last page
CATCHING_UP  the server sends the backlog from the log by itself                  with the last page
CHECKING     like CATCHING_UP, but the user may have left the group: nothing is   when the lookup begins
             sent before the membership has been looked up
===========  ===================================================================  ========================

HOLDING and LIVE are the states of all conversations of which no seqs are kept: nearly always, that is all of
them.  In CATCHING_UP and CHECKING there is a greenlet that sends the backlog (``catch_up``).

Events
======

=========  ==============================================================================================
event      cause
=========  ==============================================================================================
EARLY      an entry comes before the login has been answered
NEXT       an entry comes, nothing before it is left to be sent, and the connection has room for it
AHEAD      an entry comes that cannot be sent now, or the log is found to go on
REPEATED   an entry comes that does not have to be sent any more
BACKLOG    the login has read which entries the device lacks
MISSING    the server has to send everything after a seq
NO_SYNC    the client's wire has no SYNC
LEFT       word comes that the user has left the group, or such word may have been lost
LOOKUP     the membership, the head and the cursor are about to be read
PAGE       a page of the backlog is sent, or the lookup has found up to where the device has it
EMPTIED    ... and nothing is left of the backlog
NO_MEMBER  the lookup has found that the user is not in the group
ANSWERED   LOGIN_ACK has been sent (an event of all conversations at once)
=========  ==============================================================================================

Transitions
===========

Each cell is the next state; ``=`` stays, and an event without a cell cannot happen.

=========  =======  ===========  ===========  ===========  ===========  ===========  ===========
event      action   HOLDING      LIVE         CAUGHT_UP    PAGING       CATCHING_UP  CHECKING
=========  =======  ===========  ===========  ===========  ===========  ===========  ===========
EARLY      hold     =                         =            =            =            =
NEXT       send                  =            LIVE                      LIVE         LIVE
AHEAD                            CATCHING_UP  CATCHING_UP  =            =            =
REPEATED                                      =            =            =            =
BACKLOG             PAGING                                              PAGING       =
MISSING             CATCHING_UP  CATCHING_UP  CATCHING_UP  CATCHING_UP  =            =
NO_SYNC                                                    CATCHING_UP
LEFT                CHECKING     =            CHECKING     CHECKING     CHECKING     =
LOOKUP                                                                  =            CATCHING_UP
PAGE                                                       =            =
EMPTIED                                                    CAUGHT_UP    CAUGHT_UP
NO_MEMBER                                                               LIVE
ANSWERED   release  LIVE
=========  =======  ===========  ===========  ===========  ===========  ===========  ===========

Why this is enough
==================

- Only NEXT sends a live entry, and then nothing is missing: it is ``sent + 1``, and ``sent`` is ``head``.
- A page is planned with the state and ``sent`` of that moment, and counts only if both are the same once it
  has been read (``Stream.stands``).  So no two pages hold the same entry, and LEFT voids the page that is
  being read.
- ``head`` never goes back, and NO_MEMBER alone drops a backlog.  So a late result of a read, by a login or a
  lookup, adds to the events of the meantime and takes nothing from them.
- Entries are handed out by the membership that was read last, and a stream hears of that one (MISSING)
  before it is handed an entry by it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class _Kind(Enum):
    """An enumeration that is hashed by identity: by name, as usual, it takes a call for each look-up."""

    __hash__ = object.__hash__


class State(_Kind):
    """The state of one conversation on one connection."""

    HOLDING = "holding back"
    LIVE = "live"
    CAUGHT_UP = "caught up"
    PAGING = "paging"
    CATCHING_UP = "catching up"
    CHECKING = "checking the membership"


class Event(_Kind):
    """An event of one conversation on one connection."""

    EARLY = "entry during the login"
    NEXT = "next entry"
    AHEAD = "entry that cannot be sent now"
    REPEATED = "entry that was sent"
    BACKLOG = "backlog of the login"
    MISSING = "entries missing"
    NO_SYNC = "wire without SYNC"
    LEFT = "user left"
    LOOKUP = "lookup begins"
    PAGE = "page sent"
    EMPTIED = "backlog emptied"
    NO_MEMBER = "user is no member"
    ANSWERED = "login answered"


class Action(Enum):
    """The action on the entry of an event, or on those that were held."""

    NONE = ""
    HOLD = "hold"
    SEND = "send"
    RELEASE = "release"


class Row(NamedTuple):
    """One row of the table: an event's action, and the next state by the state before."""

    action: Action
    states: dict[State, State]


HOLDING, LIVE, CAUGHT_UP, PAGING, CATCHING_UP, CHECKING = State


def _stay(*states: State) -> dict[State, State]:
    return {state: state for state in states}


def _go(to: State, *states: State) -> dict[State, State]:
    return dict.fromkeys(states, to)


TABLE: dict[Event, Row] = {
    Event.EARLY: Row(Action.HOLD, _stay(HOLDING, CAUGHT_UP, PAGING, CATCHING_UP, CHECKING)),
    Event.NEXT: Row(Action.SEND, _go(LIVE, LIVE, CAUGHT_UP, CATCHING_UP, CHECKING)),
    Event.AHEAD: Row(Action.NONE, _go(CATCHING_UP, LIVE, CAUGHT_UP, CATCHING_UP) | _stay(PAGING, CHECKING)),
    Event.REPEATED: Row(Action.NONE, _stay(CAUGHT_UP, PAGING, CATCHING_UP, CHECKING)),
    Event.BACKLOG: Row(Action.NONE, _go(PAGING, HOLDING, CATCHING_UP) | _stay(CHECKING)),
    Event.MISSING: Row(
        Action.NONE, _go(CATCHING_UP, HOLDING, LIVE, CAUGHT_UP, PAGING, CATCHING_UP) | _stay(CHECKING)
    ),
    Event.NO_SYNC: Row(Action.NONE, _go(CATCHING_UP, PAGING)),
    Event.LEFT: Row(
        Action.NONE, _go(CHECKING, HOLDING, CAUGHT_UP, PAGING, CATCHING_UP, CHECKING) | _stay(LIVE)
    ),
    Event.LOOKUP: Row(Action.NONE, _go(CATCHING_UP, CATCHING_UP, CHECKING)),
    Event.PAGE: Row(Action.NONE, _stay(PAGING, CATCHING_UP)),
    Event.EMPTIED: Row(Action.NONE, _go(CAUGHT_UP, PAGING, CATCHING_UP)),
    Event.NO_MEMBER: Row(Action.NONE, _go(LIVE, CATCHING_UP)),
    Event.ANSWERED: Row(Action.RELEASE, _go(LIVE, HOLDING)),
}
"""The transitions; a missing state is a bug in ``Stream``."""
