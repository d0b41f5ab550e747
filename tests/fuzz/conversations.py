"""Whole conversations for Hypothesis: requests well formed, nearly so, and not at all."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenchat.protocol.messages import REQUESTS, MsgId
from tests.fuzz.targets import session

# -- Fields

ids = st.sampled_from([1, 1, 1, 2, 2, 2, 3, 3, 4, 99, 2**31 - 1])
seqs = st.sampled_from([1, 1, 2, 2, 3, 3, 4, 5, 6, 99, 2**63 - 1, 2**63])
names = st.sampled_from(["ann", "bob", "cem", "new", "e\u0301", " ann ", "\U0001f600", "x" * 50, "x" * 51])
passwords = st.sampled_from(["pw", "pw", "pw", "pw", "new", "p" * 128, "p" * 129])
texts = st.sampled_from(
    ["hi", "hi", "x" * 4_096, "x" * 4_097, "\0", "\n\r", "\u2028", "\U0010ffff" * 4_096, ""]
) | st.text(max_size=5)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "cid": st.sampled_from(["c1", "c2", "c3", "c" * 36, "\U0001f600" * 36]),
    "id": ids,
    "toid": ids,
    "friendid": ids,
    "userid": ids,
    "peerid": ids,
    "groupid": st.sampled_from([1, 1, 2, 3, 99, 2**31 - 1]),
    "name": names,
    "groupname": st.sampled_from(["ours", "theirs"]) | names,
    "groupdesc": texts,
    "password": passwords,
    "old": passwords,
    "new": passwords,
    "token": st.sampled_from(["<token>", "<token>", "x", "", "\0", "~" * 500]),
    "device": st.sampled_from(["", "phone", "tablet", "d" * 36, "a\tb"]),
    "force": st.booleans(),
    "edition": st.sampled_from([1, 2, 3, 0, -1, 2**31, 2**64]),
    "msg": texts,
    "seq": seqs,
    "before": seqs,
    "target": seqs,
    "day": st.sampled_from(["2027-01-15", "2027-01-16", "0001-01-01", "9999-12-31", "2027-02-30", ""]),
    "limit": st.sampled_from([1, 2, 50, 200, 201, 500, 501, 2**31, 2**63, 2**64]),
    "after": st.sampled_from([0, 1, 2, 2**31 - 1]),
    "ids": st.lists(ids, max_size=5) | st.just([1] * 1_000) | st.just([1] * 1_001),
}
"""Values that a field may well have, by its name, and some on both sides of its limits."""

# -- What is wrong

DEEP, DEPTH = "<deep>", 10_000
"""What stands for lists in lists, too many for ``json.dumps``, and how many."""

numbers = st.sampled_from(
    [0, -1, 1.0, 1.5, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**40, 1e308, float("nan"), float("inf")]
)
broken_texts = st.sampled_from(["\ud800", "\udfff\ud800", "a\0b", "\ufeff", "\ufffe", "x" * 5_000, "6", ""])
strange_names = st.sampled_from(["a", "msgid", "\ud800"])
wrong = st.recursive(
    st.none() | st.booleans() | numbers | broken_texts | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strange_names, inner),
    max_leaves=4,
)

Request = dict[str, Any]


EITHER = (
    ("id", "name"),
    ("password", "token"),
    ("peerid", "groupid"),
    ("toid", "groupid"),
    ("name", "groupname"),
)
"""Fields of which a request that may have both is to have one."""

TALK = (MsgId.ONE_CHAT, MsgId.GROUP_CHAT, MsgId.RECALL, MsgId.HISTORY, MsgId.RECEIVED, MsgId.READ)

msgids = st.sampled_from([*TALK * 3, *sorted(REQUESTS)])


def _required(msgid: int) -> set[str]:
    return {field.name for field in msgspec.structs.fields(REQUESTS[msgid]) if field.required}


def _choices(msgid: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Return a request's fields of which there is to be one of two, and those that it may go without."""
    optional = set(REQUESTS[msgid].__struct_fields__) - _required(msgid)
    pairs = [pair for pair in EITHER if optional.issuperset(pair)]
    return pairs, sorted(optional.difference(*pairs))


@st.composite
def well_formed(draw: st.DrawFn) -> Request:
    """Draw a request as it should be; whether it can be done is another question."""
    msgid = draw(msgids)
    pairs, optional = _choices(msgid)
    fields = [*sorted(_required(msgid)), *(draw(st.sampled_from(pair)) for pair in pairs)]
    fields += [name for name in optional if draw(st.integers(0, 3)) == 3]
    return {"msgid": msgid} | {name: draw(FIELDS[name]) for name in fields}


@st.composite
def nearly(draw: st.DrawFn) -> Request:
    """Draw a request in which a field is missing, wrong, too much or another request's."""
    request = draw(well_formed())
    known = sorted({*request, *FIELDS, "time", "\0"})
    for name in draw(st.lists(st.sampled_from(known), min_size=1, max_size=2)):
        if draw(st.booleans()):
            request[name] = draw(wrong | st.just(DEEP) | FIELDS.get(name, wrong))
        else:
            request.pop(name, None)
    if draw(st.integers(0, 9)) == 9:
        request["msgid"] = draw(st.sampled_from([*MsgId, 0, -1, 31, 2**63, "6", None]))
    return request


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a frame; sometimes they are damaged."""
    request = draw(nearly() if draw(st.integers(0, 3)) == 3 else well_formed())
    escaped = draw(st.booleans())
    text = json.dumps(request, ensure_ascii=escaped).replace(f'"{DEEP}"', "[" * DEPTH + "]" * DEPTH)
    frame = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 19)) == 19:
        place = draw(st.integers(0, len(frame)))
        frame = frame[:place] + draw(st.binary(max_size=3)) + frame[place + draw(st.integers(0, 3)) :]
    return frame.replace(b"\n", b" ")


people = st.sampled_from([b"a", b"a", b"b", b"b", b"p", b"n", b"c", b"o", b"A", b"B"])
logins = [
    b'%c{"msgid":1,"id":%d,"password":"pw","force":true}' % (who, userid)
    for who, userid in zip(b"abpnco", (1, 2, 1, 3, 3, 2), strict=True)
]
turns = st.sampled_from(
    [b"!rw", b"!w", b"!", b"!", b"~", b"/a", b"/b", b"/p", b"/n", b"/c", b"/o", *logins * 2]
)


@st.composite
def steps(draw: st.DrawFn) -> bytes:
    """Draw a line of a conversation (see ``scene.Conversation``)."""
    return draw(turns) if draw(st.integers(0, 6)) == 6 else draw(people) + draw(frames())


EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))


@settings(max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps(), min_size=10, max_size=40))
def any_conversation(lines: list[bytes]) -> None:
    """Whatever people send, what ``targets.session`` holds is so."""
    session(b"\n".join(lines))
