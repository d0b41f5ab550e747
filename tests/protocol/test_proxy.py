"""PROXY headers: both versions, any split, every fault, and what stands behind them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.protocol.proxy import MAX_HEADER, MAX_LINE, SIGNATURE, BadProxyHeader, ProxyHeader, read_header

V4 = IPv4Address("192.0.2.7").packed + IPv4Address("10.0.0.1").packed + bytes([0xDC, 0x04, 0x17, 0x70])
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("::1").packed + bytes([0xDC, 0x04, 0x17, 0x70])
MAPPED = IPv6Address("::ffff:192.0.2.7").packed + bytes(16) + bytes([0xDC, 0x04, 0, 0])
TLV = b"\x04\x00\x03abc"
SEVEN = ("192.0.2.7", 56_324)
LONG_V6 = b":".join([b"ffff"] * 8)


def binary(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2) + block


GOOD = [
    # header, source
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 6000\r\n", SEVEN),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65_535)),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ("0.0.0.0", 0)),
    (b"PROXY TCP6 2001:DB8:0:0::7 ::1 56324 6000\r\n", ("2001:db8::7", 56_324)),
    (b"PROXY TCP6 %s %s 65535 65535\r\n" % (LONG_V6, LONG_V6), (LONG_V6.decode(), 65_535)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 6000\r\n", SEVEN),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN 192.0.2.7 10.0.0.1 56324 6000\r\n", None),
    (b"PROXY UNKNOWN \xff\0 what\rever\r\n", None),
    (b"PROXY UNKNOWN %s %s 65535 65535\r\n" % (LONG_V6, LONG_V6), None),
    (binary(0x21, 0x11, V4), SEVEN),
    (binary(0x21, 0x11, V4 + TLV), SEVEN),
    (binary(0x21, 0x11, V4 + bytes(MAX_HEADER - 16 - len(V4))), SEVEN),
    (binary(0x21, 0x21, V6), ("2001:db8::7", 56_324)),
    (binary(0x21, 0x21, V6 + TLV), ("2001:db8::7", 56_324)),
    (binary(0x21, 0x21, MAPPED), SEVEN),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, V4), None),
    (binary(0x20, 0xFF, TLV), None),
    (binary(0x21, 0x00, b""), None),
    (binary(0x21, 0x12, V4), None),
    (binary(0x21, 0x22, V6), None),
    (binary(0x21, 0x31, bytes(216)), None),
    (binary(0x21, 0x01, b""), None),
]

BAD = [
    # what comes, what is said
    (b'{"msgid":12}\n', "there is none"),
    (b"\x16\x03\x01\x02\x00\x01", "there is none"),
    (b"proxy TCP4", "there is none"),
    (b"PROXY\tTCP4", "there is none"),
    (b"\r\n\r\n\0\r\nQUIT\r", "there is none"),
    (b"\n", "there is none"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 6000\n", "the line does not end with CRLF"),
    (b"PROXY UNKNOWN\n", "the line does not end with CRLF"),
    (b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 14), "the line is too long"),
    (b"PROXY \r\n", "the line is neither TCP4, TCP6 nor UNKNOWN"),
    (b"PROXY UNKNOWNS\r\n", "the line is neither TCP4, TCP6 nor UNKNOWN"),
    (b"PROXY UDP4 192.0.2.7 10.0.0.1 56324 6000\r\n", "the line is neither TCP4, TCP6 nor UNKNOWN"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n", "the line is neither TCP4, TCP6 nor UNKNOWN"),
    (b"PROXY TCP4  192.0.2.7 10.0.0.1 56324 6000\r\n", "the line is neither TCP4, TCP6 nor UNKNOWN"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 6000 \r\n", "the line is neither TCP4, TCP6 nor UNKNOWN"),
    (b"PROXY TCP4 192.0.2.007 10.0.0.1 56324 6000\r\n", "an address of the line is not valid"),
    (b"PROXY TCP4 192.0.2 10.0.0.1 56324 6000\r\n", "an address of the line is not valid"),
    (b"PROXY TCP4 192.0.2.7 ::1 56324 6000\r\n", "an address of the line is not valid"),
    (b"PROXY TCP4 192.0.2.\xd9\xa7 10.0.0.1 56324 6000\r\n", "an address of the line is not valid"),
    (b"PROXY TCP6 192.0.2.7 ::1 56324 6000\r\n", "an address of the line is not valid"),
    (b"PROXY TCP6 fe80::1%a ::1 56324 6000\r\n", "an address of the line is not valid"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 056324 6000\r\n", "a port of the line is not valid"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 6000\r\n", "a port of the line is not valid"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 -1\r\n", "a port of the line is not valid"),
    (binary(0x11, 0x11, V4), "the version or command is not known"),
    (binary(0x22, 0x11, V4), "the version or command is not known"),
    (binary(0x21, 0x41, V4), "the address family or transport is not known"),
    (binary(0x21, 0x13, V4), "the address family or transport is not known"),
    (binary(0x21, 0x11, V4[:-1]), "it is too short for its addresses"),
    (binary(0x21, 0x21, V4), "it is too short for its addresses"),
    (SIGNATURE + b"\x21\x11" + (MAX_HEADER - 15).to_bytes(2), "it is too long"),
    (SIGNATURE + b"\x20\x00\xff\xff", "it is too long"),
]

headers = st.sampled_from([header for header, _ in GOOD])


@pytest.mark.parametrize(("header", "source"), GOOD)
def test_a_header_names_the_client(header: bytes, source: tuple[str, int] | None) -> None:
    assert read_header(header) == ProxyHeader(source, len(header))


@pytest.mark.parametrize(("header", "source"), GOOD)
@pytest.mark.parametrize("behind", [b'{"msgid":12}\n', b"\0", b"\r\n", b"PROXY UNKNOWN\r\n", SIGNATURE])
def test_what_stands_behind_a_header_is_the_clients(header: bytes, source: object, behind: bytes) -> None:
    assert read_header(header + behind) == (source, len(header))


@pytest.mark.parametrize(("header", "_"), GOOD)
def test_a_header_that_is_cut_anywhere_needs_more(header: bytes, _: object) -> None:
    assert {read_header(header[:size]) for size in range(len(header))} == {None}


@pytest.mark.parametrize(("data", "said"), BAD)
def test_what_is_no_header_is_told(data: bytes, said: str) -> None:
    with pytest.raises(BadProxyHeader) as caught:
        read_header(data)
    assert str(caught.value) == said


@given(headers, st.data())
def test_a_changed_byte_gives_a_header_or_the_one_error(header: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(header) - 1))
    changed = header[:place] + data.draw(st.binary(min_size=1, max_size=1)) + header[place + 1 :]
    try:
        read = read_header(changed)
    except BadProxyHeader:
        return
    assert read is None or read.size <= len(changed)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]), st.binary(max_size=MAX_HEADER + 20))
def test_no_bytes_raise_anything_else_and_none_keep_it_waiting_for_ever(start: bytes, rest: bytes) -> None:
    data = start + rest
    try:
        read = read_header(data)
    except BadProxyHeader:
        return
    if read is None:
        assert len(data) < (MAX_LINE if data.startswith(b"P") else MAX_HEADER)
    else:
        assert read.size <= min(len(data), MAX_HEADER)
