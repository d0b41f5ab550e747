"""What every wire does (``protocol.wire.Wire``): each test is run by each wire.

A new wire adds a row to ``SPEAKERS``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat import errors
from greenchat.errors import ERRORS, MalformedFrame, RequestError
from greenchat.model.conversations import of_group, of_pair
from greenchat.model.kinds import KINDS, RECALL, TEXT
from greenchat.model.records import Entry
from greenchat.protocol import messages as m
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.classic.text import MAX_FRAME
from greenchat.protocol.classic.wire import NUL, ClassicWire
from greenchat.protocol.events import EVENTS
from greenchat.protocol.lines import MAX_SERVER_FRAME, NEWLINE
from greenchat.protocol.native import NATIVE
from greenchat.protocol.opening import TcpOpening
from greenchat.protocol.websocket.frames import CLOSE_CODES, close_frame, payload_of, text_frame
from greenchat.protocol.websocket.wire import WebSocketWire
from greenchat.protocol.wire import NOBODY, Frames, OtherProtocol, SharedEntry, SharedPush, Wire, fitting

CLASSIC = ClassicClients(clock=lambda: 1_800_000_000.0)

ANN, BOB, GROUP = 1, 2, 3
TIME = "2027-01-15T08:00:00.000Z"
BODIES = {TEXT.name: ("hi", "", "x" * 4_096), RECALL.name: ("1",)}
"""Bodies that an entry of each kind can have."""


class Speaker(NamedTuple):
    """A wire, and what the tests need to know of it.

    Attributes:
        make: returns the wire of a client that has sent its login.
        login: that frame.
        max_frame: bytes of a frame.
        is_whole: returns True if some bytes are one whole frame.
        entries: returns the seq (0 if it is not shown) and the text of the entries in some frames.
        cid: how the cid "c" is echoed; empty where the client sends none.
        has_pages: answers may hold entries.
    """

    make: Callable[[], Wire]
    login: bytes
    max_frame: int
    is_whole: Callable[[bytes], bool]
    entries: Callable[[Frames], list[tuple[int, str]]]
    cid: bytes
    has_pages: bool


def json_speaker(make: Callable[[], Wire], login: bytes, max_frame: int, terminator: bytes) -> Speaker:
    """Return a speaker of JSON objects with a terminator, which stands nowhere else in them."""
    return Speaker(
        make,
        login,
        max_frame + len(terminator),
        lambda frame: frame.endswith(terminator) and frame.count(terminator) == 1,
        entries_in,
        b'"cid":"c"',
        True,
    )


def entries_in(frames: Frames) -> list[tuple[int, str]]:
    """Return the entries in frames of JSON: live, in an array, and as strings in an array."""
    found = []
    for frame in frames:
        fields = json.loads(frame[:-1])
        held = fields.get("offlinemsg", fields.get("messages", [fields] if "seq" in fields else []))
        found += [json.loads(each) if isinstance(each, str) else each for each in held]
    return [(each["seq"], each.get("msg", "")) for each in found]


@cache
def _page() -> dict[str, Any]:
    """Return what the code of docs/architecture/add-a-wire.md defines."""
    text = (Path(__file__).parents[2] / "docs/architecture/add-a-wire.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
        if "greenchat.server" not in block:
            exec(compile(block, "add-a-wire.md", "exec"), names)
    return names


def of_the_page(name: str) -> Any:
    """Return what the page on wires calls so."""
    return _page()[name]


def classic(first: bytes) -> Wire:
    wire = ClassicWire(CLASSIC, "127.0.0.1:1")
    wire.request(first)
    return wire


LOGIN = b'{"msgid":1,"id":1,"password":"pw"}'
OLD_LOGIN = b'{"msgid":1000,"id":1,"password":"pw"}'

CLOSES = [close_frame(code, reason) for reason, code in CLOSE_CODES.items()]

SPEAKERS = {
    "native": json_speaker(lambda: NATIVE, LOGIN, MAX_SERVER_FRAME, NEWLINE),
    "before its first frame": json_speaker(
        lambda: TcpOpening(CLASSIC, "127.0.0.1:1", 65_536), LOGIN, MAX_SERVER_FRAME, NEWLINE
    ),
    "classic": json_speaker(lambda: classic(LOGIN), LOGIN, MAX_FRAME, NUL),
    "classic, older": json_speaker(lambda: classic(OLD_LOGIN), OLD_LOGIN, MAX_FRAME, NUL),
    "websocket": Speaker(
        lambda: WebSocketWire(10.0, 5),
        LOGIN,
        MAX_SERVER_FRAME + 10,
        lambda frame: frame in {text_frame(payload_of(frame)), *CLOSES},
        lambda frames: entries_in([payload_of(frame) + NEWLINE for frame in frames]),
        b'"cid":"c"',
        True,
    ),
    "events": Speaker(
        lambda: EVENTS,
        LOGIN,
        MAX_SERVER_FRAME,
        lambda frame: frame.endswith(b"\n\n") and frame.count(b"\n\n") == 1,
        lambda frames: entries_in([re.sub(rb"(?m)^id: .*\n|^data: ", b"", frame)[:-1] for frame in frames]),
        b"",
        False,
    ),
    "of the page on wires": Speaker(
        lambda: of_the_page("TEXT"),
        b"login ann pw",
        4_200,
        lambda frame: of_the_page("Netstrings")(4_200).feed(frame) == [frame.partition(b":")[2][:-1]],
        lambda frames: [(0, frame.partition(b" ")[2][:-1].decode()) for frame in frames],
        b"",
        False,
    ),
}

everybody = pytest.mark.parametrize("speaker", SPEAKERS.values(), ids=SPEAKERS.keys())

REQUESTS: list[m.Request] = [
    m.Login(id=ANN, password="pw"), m.Loginout(), m.Reg(name="ann", password="pw"),
    m.OneChat(toid=BOB, msg="hi"), m.AddFriend(friendid=BOB), m.CreateGroup(groupname="g"),
    m.AddGroup(groupid=GROUP), m.GroupChat(groupid=GROUP, msg="hi"), m.Heartbeat(),
    m.Received(peerid=BOB, seq=1), m.History(peerid=BOB), m.Recall(peerid=BOB, target=1),
    m.RemoveFriend(friendid=BOB), m.Block(userid=BOB), m.Unblock(userid=BOB), m.LeaveGroup(groupid=GROUP),
    m.AreFriends(ids=[BOB]), m.Sync(), m.Typing(toid=BOB), m.Read(peerid=BOB, seq=1),
    m.ChangePassword(old="a", new="b"), m.GroupInfo(groupid=GROUP), m.Find(name="bob"),
]  # fmt: skip

FRIEND = m.UserItem(BOB, "bob", "online")
IN_GROUP = m.GroupItem(
    id=GROUP, groupname="g", groupdesc="", count=1, role="creator",
    users=[m.MemberItem(ANN, "ann", "online", "creator")],
)  # fmt: skip

PUSHES = [
    m.PresencePush(id=BOB, state="online"),
    m.TypingPush(id=BOB, peerid=BOB),
    m.ReadPush(id=BOB, seq=1, groupid=GROUP),
]


def answer_to(request: m.Request, page: list[SharedEntry]) -> m.Answer:
    """Return an answer as the service gives it; those that hold entries have a page."""
    stored = m.StoredAck(seq=7, time=TIME)
    answers: dict[type[m.Request], m.Answer] = {
        m.Login: login_ack(page), m.Reg: m.RegAck(id=ANN, name="ann"), m.Heartbeat: m.HeartbeatReply(),
        m.OneChat: stored, m.GroupChat: stored, m.Recall: stored,
        m.History: m.HistoryAck(messages=page, more=False), m.Sync: m.SyncAck(offlinemsg=page, more=False),
        m.AddFriend: m.FriendAck(friend=FRIEND), m.CreateGroup: m.CreatedAck(groupid=GROUP),
        m.AddGroup: m.JoinedAck(group=IN_GROUP), m.AreFriends: m.AreFriendsAck(ids=[BOB]),
        m.ChangePassword: m.TokenAck(token="t"), m.Find: m.FoundAck(user=FRIEND),
        m.GroupInfo: m.GroupInfoAck(group=IN_GROUP, users=[], more=False),
    }  # fmt: skip
    return answers.get(type(request), m.Ack())


def login_ack(page: list[SharedEntry]) -> m.LoginAck:
    return m.LoginAck(
        id=ANN, name="ann", token="t", heartbeat=m.HeartbeatTerms(1.0, 5), server="n", friends=[FRIEND],
        groups=[IN_GROUP], offlinemsg=page, more=False,
    )  # fmt: skip


def entry(
    seq: int = 1, kind: str = TEXT.name, body: str = "hi", conversation: int = of_pair(ANN, BOB)
) -> Entry:
    return Entry(conversation, seq, BOB, "bob", "its-cid", kind, body, TIME)


def check(speaker: Speaker, frames: Frames) -> Frames:
    """Return frames, each of which must be complete, not too long, and no two."""
    for frame in frames:
        assert speaker.is_whole(frame)
        assert len(frame) <= speaker.max_frame
    return frames


# -- In


@everybody
def test_a_login_is_read(speaker: Speaker) -> None:
    request = speaker.make().request(speaker.login)
    assert isinstance(request, m.Login)
    assert request.password == "pw"


@everybody
@given(frame=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_frame_raises_anything_else(speaker: Speaker, frame: bytes) -> None:
    try:
        speaker.make().request(frame)
    except (MalformedFrame, OtherProtocol):
        pass


# -- Answers


@everybody
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
@pytest.mark.parametrize("cid", [None, "c"])
def test_every_answer_has_frames(speaker: Speaker, request_: m.Request, cid: str | None) -> None:
    wire, page = speaker.make(), [SharedEntry(entry(), ANN)]
    request_.cid = cid
    frames = check(speaker, wire.reply(request_, answer_to(request_, page)))
    assert frames or not isinstance(request_, m.Login)
    assert not frames or (speaker.cid in frames[0]) >= (cid is not None)


def test_all_requests_are_tried() -> None:
    assert {type(request) for request in REQUESTS} == set(m.REQUESTS.values())


@everybody
@pytest.mark.parametrize("error", [kind for kind in ERRORS.values() if kind is not errors.Uncertain])
def test_every_failure_has_frames_or_none(speaker: Speaker, error: type[RequestError]) -> None:
    wire = speaker.make()
    for msgid in (None, 99, *m.REQUESTS):
        for told in (error(), error("x" * 100, retry_after=1.5)):
            frames = check(speaker, wire.failed(told, msgid, "c"))
            assert len(frames) <= 1
            if msgid in m.UNANSWERED and told.errno not in (3, 5):
                assert not frames
    assert wire.failed(error(), m.MsgId.LOGIN, None), "a client must know why it is not let in"


@everybody
@pytest.mark.parametrize("first", [None, "login", b"garbage"])
def test_a_refused_client_is_told_in_its_frames(speaker: Speaker, first: Any) -> None:
    error = errors.RateLimited("too many connections", retry_after=2.0)
    frame = speaker.login if first == "login" else first
    frames = check(speaker, speaker.make().refused(error, frame))
    assert frames or frame != speaker.login


# -- Entries


@everybody
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("conversation", [of_pair(ANN, BOB), of_group(GROUP)])
def test_every_kind_of_entry_is_shown_or_left_out(speaker: Speaker, kind: str, conversation: int) -> None:
    for body in BODIES[kind]:
        shown = entry(kind=kind, body=body, conversation=conversation)
        for reader in (ANN, BOB, NOBODY if conversation < 0 else ANN):
            frames = check(speaker, speaker.make().entry(shown, reader))
            assert list(frames) == list(speaker.make().entry(shown, reader)), "it depends on the wire's past"
            assert bool(frames) >= (kind == TEXT.name)
            assert reader == BOB or not any(b"its-cid" in frame for frame in frames)


@everybody
def test_a_message_is_the_same_live_and_in_every_page(speaker: Speaker) -> None:
    wire = speaker.make()
    page = [SharedEntry(entry(seq, body=f"text {seq}"), ANN) for seq in (1, 2)]
    live = [found for each in page for found in speaker.entries(wire.entry(each.entry, each.reader))]
    assert [text for _, text in live] == ["text 1", "text 2"]
    for request in (m.Login(id=ANN, password="pw"), m.Sync(), m.History(peerid=BOB)):
        if speaker.has_pages:
            assert speaker.entries(wire.reply(request, answer_to(request, page))) == live


@everybody
@given(sizes=st.lists(st.integers(0, 4_096), max_size=30))
def test_the_answer_to_a_login_fits_with_the_entries_that_it_has_room_for(
    speaker: Speaker, sizes: list[int]
) -> None:
    wire, request, ack = speaker.make(), m.Login(id=ANN, password="pw", cid="c"), login_ack([])
    backlog = [SharedEntry(entry(seq, body="x" * size), ANN) for seq, size in enumerate(sizes, 1)]
    page = wire.login_room(request, ack)(backlog)
    assert page == backlog[: len(page)]
    ack.offlinemsg = page
    answer, *_ = check(speaker, wire.reply(request, ack))
    if speaker.has_pages:
        assert [seq for seq, _ in speaker.entries([answer])] == [each.entry.seq for each in page]
    else:
        assert page == []


@everybody
def test_a_page_holds_as_many_entries_as_fit(speaker: Speaker) -> None:
    wire = speaker.make()
    entries = [SharedEntry(entry(seq), ANN) for seq in range(1, 9)]
    size = sum(map(len, wire.entry(entries[0].entry, ANN)))
    assert fitting(entries, wire, 4 * size) == entries[:3]  # each also takes a comma
    assert fitting(entries, wire) == entries


# -- Pushes and the end


@everybody
@pytest.mark.parametrize("push", PUSHES, ids=lambda push: type(push).__name__)
def test_every_push_is_shown_or_left_out(speaker: Speaker, push: m.Push) -> None:
    assert len(check(speaker, speaker.make().push(push))) <= 1


@everybody
@pytest.mark.parametrize("retry_after", [None, 1.5])
def test_last_words_are_for_the_reasons_of_the_protocol(speaker: Speaker, retry_after: float | None) -> None:
    wire = speaker.make()
    for reason in get_args(m.ByeReason):
        check(speaker, wire.bye(reason, retry_after))
    assert not wire.bye("closed by peer", retry_after)


# -- What is shared


@everybody
def test_a_shared_message_is_encoded_once_for_a_kind_of_wire(speaker: Speaker) -> None:
    one, other = speaker.make(), speaker.make()
    assert one.slot == other.slot
    for shared in (SharedEntry(entry(), ANN), SharedPush(PUSHES[0])):
        frames = shared.encode(one)
        assert shared.frames.get(other.slot) is frames


def test_wires_that_write_otherwise_have_slots_of_their_own() -> None:
    frames: dict[int, list[Frames]] = {}
    for speaker in SPEAKERS.values():
        wire = speaker.make()
        shown = [wire.entry(entry(), ANN), wire.entry(entry(), BOB), *map(wire.push, PUSHES)]
        assert frames.setdefault(wire.slot, shown) == shown


@everybody
def test_the_attributes_go_together(speaker: Speaker) -> None:
    wire = speaker.make()
    assert wire.pace >= 0.0
    assert wire.confirms or not wire.pages, "pages are asked for by clients that confirm them"
