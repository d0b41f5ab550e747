"""The addresses of peers: how they are written and read, and who is one household."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.protocol.addresses import display, host_of, network_of, plain

ports = st.integers(0, 65_535)


@given(st.ip_addresses(v=4), ports)
def test_an_ipv4_address_is_plain_on_a_dual_stack_socket_too(address: IPv4Address, port: int) -> None:
    assert display((str(address), port)) == f"{address}:{port}"
    assert display((f"::ffff:{address}", port, 0, 0)) == f"{address}:{port}"


def test_an_ipv6_address_is_in_brackets() -> None:
    assert display(("2001:db8::1", 6000, 0, 0)) == "[2001:db8::1]:6000"


@pytest.mark.parametrize("host", ["::ffff:1", "::ffff:0:c000:207"])
def test_an_ipv6_address_that_only_begins_like_one_of_ipv4_stays_one(host: str) -> None:
    assert display((host, 6000, 0, 0)) == f"[{host}]:6000"
    assert network_of(host_of(f"[{host}]:6000"))


@given(st.ip_addresses().map(str), ports)
def test_the_host_of_what_is_written_is_the_one_that_was_given(host: str, port: int) -> None:
    assert host_of(display((host, port))) == plain(host)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::1", "20010db800010002"),
        ("2001:db8:1:2:ffff::9", "20010db800010002"),
        ("2001:db8:1:3::1", "20010db800010003"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("::1", "0000000000000000"),
    ],
)
def test_a_household_has_an_ipv4_address_or_64_bits_of_ipv6(host: str, network: str) -> None:
    assert network_of(host) == network


def test_what_is_no_address_has_no_network() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        network_of("localhost")
