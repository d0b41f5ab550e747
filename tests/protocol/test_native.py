"""Decoding what clients send, and saying what is wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.errors import ERRORS, MalformedFrame
from greenchat.protocol import messages as m
from greenchat.protocol.native import NATIVE, encode, failure

GOOD = [
    (b'{"id":1,"msgid":1,"password":"pw"}', m.Login(id=1, password="pw")),
    (
        b'{"msgid":1,"name":"a","token":"t","device":"d","force":true}',
        m.Login(name="a", token="t", device="d", force=True),
    ),
    (b'{"msgid":6,"toid":2,"msg":"hi","id":9,"time":"x","extra":[{}]}', m.OneChat(toid=2, msg="hi")),
    (b'{"msgid":6,"toid":1,"toid":2,"msg":"hi"}', m.OneChat(toid=2, msg="hi")),
    (b'{"msgid":12,"cid":"c"}', m.Heartbeat(cid="c")),
    (b'{"msgid":15,"peerid":1,"before":null}', m.History(peerid=1)),
    (b'\t{ "msgid" : 25 } \r', m.Sync()),
]

BAD = [
    # frame, re, errno, what the sentence names
    (b"hello", None, 3, "JSON"),
    (b"", None, 3, "JSON"),
    (b"\xff\xfe", None, 3, "JSON"),
    (b'{"msgid":6,"toid":1,"msg":"\xff"}', None, 3, "JSON"),
    (b'{"msgid":6,"toid":1,"msg":"\\ud800"}', None, 3, "JSON"),
    (b'{"msgid":6,"toid":1,"msg":"\\udc00abc"}', None, 3, "JSON"),
    (b'\xef\xbb\xbf{"msgid":12}', None, 3, "JSON"),
    (b'{"msgid":12} {}', None, 3, "JSON"),
    (b'{"msgid":6,"toid":NaN,"msg":"x"}', None, 3, "JSON"),
    (b"[" * 60_000, None, 3, "JSON"),
    (b'{"msgid":6,"toid":1,"msg":"x","y":' + b"[" * 30_000 + b"]" * 30_000 + b"}", None, 3, "JSON"),
    (b"[1]", None, 3, "object"),
    (b"6", None, 3, "object"),
    (b'"msgid"', None, 3, "object"),
    (b"null", None, 3, "object"),
    (b"{}", None, 3, "msgid"),
    (b'{"msgid":"6"}', None, 3, "msgid"),
    (b'{"msgid":true}', None, 3, "msgid"),
    (b'{"msgid":6.0,"toid":1,"msg":"x"}', None, 3, "msgid"),
    (b'{"msgid":null}', None, 3, "msgid"),
    (b'{"msgid":' + b"9" * 400 + b"}", None, 3, "msgid"),
    (b'{"msgid":99}', 99, 4, "99"),
    (b'{"msgid":-1}', -1, 4, "-1"),
    (b'{"msgid":0}', 0, 4, "0"),
    (b'{"msgid":2,"errno":0}', 2, 4, "2"),
    (b'{"msgid":6,"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":null,"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":true,"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":1.0,"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":"1","msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":0,"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":-5,"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":2147483648,"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":' + b"9" * 400 + b',"msg":"x"}', 6, 3, "toid"),
    (b'{"msgid":6,"toid":1e400,"msg":"x"}', None, 3, "JSON"),
    (b'{"msgid":6,"toid":1,"msg":5}', 6, 3, "msg"),
    (b'{"msgid":6,"toid":1,"msg":["x"]}', 6, 3, "msg"),
    (b'{"msgid":6,"toid":1,"msg":"x","cid":""}', 6, 3, "cid"),
    (b'{"msgid":6,"toid":1,"msg":"x","cid":7}', 6, 3, "cid"),
    (b'{"msgid":6,"toid":1,"msg":"x","cid":"' + b"c" * 37 + b'"}', 6, 12, "cid"),
    (b'{"msgid":1,"id":1,"password":"p","force":1}', 1, 3, "force"),
    (b'{"msgid":22,"ids":[1,0]}', 22, 3, "ids"),
    (b'{"msgid":13,"peerid":1,"seq":9223372036854775808}', 13, 3, "seq"),
]


@pytest.mark.parametrize(("frame", "request_"), GOOD)
def test_a_frame_becomes_its_request(frame: bytes, request_: m.Request) -> None:
    assert NATIVE.request(frame) == request_


@pytest.mark.parametrize(("frame", "re_", "errno", "named"), BAD)
def test_a_bad_frame_is_explained(frame: bytes, re_: int | None, errno: int, named: str) -> None:
    with pytest.raises(MalformedFrame) as caught:
        NATIVE.request(frame)
    error = caught.value
    assert (error.re, error.error.errno) == (re_, errno)
    assert named in str(error.error)
    assert json.loads(encode(failure(error.error, error.re, error.cid)))["errno"] == errno


def test_a_readable_cid_is_kept_for_the_reply() -> None:
    with pytest.raises(MalformedFrame) as caught:
        NATIVE.request(b'{"msgid":6,"cid":"abc"}')
    assert caught.value.cid == "abc"


@pytest.mark.parametrize(("re_", "msgid"), [(None, 14), (1, 2), (4, 5), (15, 16), (6, 11), (99, 11)])
def test_a_failure_is_told_in_the_reply_of_the_request(re_: int | None, msgid: int) -> None:
    reply = json.loads(encode(failure(ERRORS["busy"](retry_after=2.0), re_, "c")))
    assert reply["msgid"] == msgid
    assert reply["errno"] == 13
    assert (reply["error"], reply["retry_after"], reply["cid"]) == ("busy", 2.0, "c")
    assert reply.get("re") == (re_ if msgid == 11 else None)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_malformed_frame(frame: bytes) -> None:
    try:
        NATIVE.request(frame)
    except MalformedFrame:
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
field_names = st.sampled_from(
    sorted({name for kind in m.REQUESTS.values() for name in kind.__struct_fields__} | {"time", "unknown"})
)


@given(st.sampled_from(sorted(m.REQUESTS)), st.dictionaries(field_names, json_values, max_size=5))
def test_any_json_in_any_field_gives_a_request_or_malformed_frame(msgid: int, fields: dict[str, Any]) -> None:
    frame = json.dumps(fields | {"msgid": msgid}).encode()
    try:
        assert m.msgid_of(NATIVE.request(frame)) == msgid
    except MalformedFrame as error:
        encode(failure(error.error, error.re, error.cid))


def test_the_errors_are_those_of_the_protocol_page() -> None:
    page = Path("docs/protocol.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| (\d+) \| ([a-z_]+)", page, re.M)) - {("0", "ok")}
    assert {(str(kind.errno), name) for name, kind in ERRORS.items()} == listed | {("1", "name_taken")}


def test_the_message_ids_are_those_of_the_protocol_page() -> None:
    page = Path("docs/protocol.md").read_text(encoding="utf-8")
    listed = {
        (int(number), name) for number, name in re.findall(r"(?:^\||/) (\d+) \|? ?([A-Z_]+)", page, re.M)
    }
    listed |= {(int(number), name) for number, name in re.findall(r"^\| (\d+) \| ([A-Z_]+)", page, re.M)}
    assert {(int(msgid), msgid.name) for msgid in m.MsgId} == listed
