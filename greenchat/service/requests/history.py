"""Pages of a conversation's log (HISTORY), and of a device's backlogs (SYNC)."""

from __future__ import annotations

from greenchat.errors import BadRequest
from greenchat.model.instants import day_bounds
from greenchat.protocol import messages as m
from greenchat.protocol.wire import fitting
from greenchat.service.device.caller import Caller
from greenchat.service.device.catch_up import next_page, shared
from greenchat.service.requests.permissions import readable

DEFAULT_HISTORY = 50
MAX_HISTORY = 200


def history(caller: Caller, request: m.History) -> m.Reply:
    """Return a page of a conversation's past."""
    limit = request.limit or DEFAULT_HISTORY
    if limit > MAX_HISTORY:
        raise BadRequest(f"limit: at most {MAX_HISTORY}")
    day = None if request.day is None else _bounds(request.day)
    while True:
        known = _known(caller, request)
        conversation, after = readable(caller, request)
        entries, more = caller.service.store.history(conversation, after, request.before, day, limit)
        if _known(caller, request) == known:
            break  # else the user has left the group or joined it again while it was read, or may have
    messages = shared(caller, entries)
    kept = fitting(messages[::-1], caller.wire)[::-1]
    return m.HistoryAck(messages=kept, more=more or len(kept) < len(messages))


def _known(caller: Caller, request: m.History) -> tuple[int, int]:
    """Return a value that changes with each leaving and joining, and when an event about one may be lost."""
    if request.groupid is None:
        return 0, 0
    service, stream = caller.service, caller.stream
    # Of a caller that is not online, the stream hears of nothing.
    place = service.memberships.changes if stream.is_over else stream.joined(request.groupid)
    return place, service.forgotten


def sync(caller: Caller, request: m.Sync) -> m.Reply:
    """Return the next page of the device's backlogs."""
    page = next_page(caller)
    return m.SyncAck(offlinemsg=page, more=bool(caller.stream.paging()))


def _bounds(day: str) -> tuple[str, str]:
    try:
        return day_bounds(day)
    except ValueError:
        raise BadRequest("day: YYYY-MM-DD is needed") from None
