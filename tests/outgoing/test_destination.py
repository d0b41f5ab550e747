"""Where deliveries may go: nothing of the server's own network, by whatever name."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from greenchat.outgoing.destination import Destination, NoDestination, is_usable, parse, resolve

OPEN = ["8.8.8.8", "192.0.0.9", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]

CLOSED = [
    *("0.0.0.0", "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "::ffff:0:7f00:1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::", "2001:0:1::1", "2001:db8::1"),
    *("3fff::1", "5f00::1", "100::1", "4000::1", "nonsense", ""),
]


@pytest.mark.parametrize("address", OPEN)
def test_an_address_of_the_open_internet_will_do(address: str) -> None:
    assert is_usable(address, [])


@pytest.mark.parametrize("address", CLOSED)
def test_any_other_address_is_refused(address: str) -> None:
    assert not is_usable(address, [])


def test_a_network_that_is_listed_will_do() -> None:
    listed = [ip_network("127.0.0.0/8"), ip_network("fc00::/7")]
    assert [
        is_usable(address, listed) for address in ("127.1.2.3", "::ffff:127.0.0.1", "fd12::1", "10.0.0.1")
    ] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org", Destination(True, "example.org", 443, "/")),
        ("https://Example.ORG.:8443/a/b?c=%20d#e", Destination(True, "example.org", 8443, "/a/b?c=%20d")),
        ("https://bücher.example/?", Destination(True, "xn--bcher-kva.example", 443, "/")),
        ("https://[2001:DB8::1]/x", Destination(True, "2001:db8::1", 443, "/x")),
        ("http://10.0.0.1:80/x", Destination(False, "10.0.0.1", 80, "/x")),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: Destination) -> None:
    assert parse(url, allow_http=True) == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org/", "example.org"),
        ("https://example.org:444/", "example.org:444"),
        ("https://[2001:db8::1]/", "[2001:db8::1]"),
        ("http://example.org/", "example.org"),
        ("http://example.org:443/", "example.org:443"),
    ],
)
def test_the_host_header_has_the_port_unless_it_is_the_usual_one(url: str, host: str) -> None:
    assert parse(url, allow_http=True).authority == host


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "example.org",
            "//example.org",
            "https:",
            "https://",
            "https:///x",
            "https://:443/",
            "ftp://example.org",
        ),
        *(
            "http://example.org/",
            "HTTP://example.org/",
            "https://ann:pw@example.org/",
            "https://ann@example.org/",
        ),
        *("https://example.org:0/", "https://example.org:99999/", "https://example.org:x/", "https://[::1/"),
        *("https://exa mple.org/", "https://example.org/\r\nX: y", "https://example.org\\@evil.example/"),
        *(
            "https://example.org/é",
            "https://example.org/" + "x" * 2000,
            "https://..",
            "https://a" + "b" * 64 + ".org",
        ),
        "javascript:alert(1)",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(NoDestination) as refused:
        parse(url, allow_http=False)
    assert "\n" not in str(refused.value)
    assert "pw" not in str(refused.value)


def test_a_name_that_leads_to_this_machine_is_refused() -> None:
    with pytest.raises(NoDestination, match="not on the open internet"):
        resolve(parse("https://localhost/", allow_http=False), [])
    loopback = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    assert {"127.0.0.1"} <= set(resolve(parse("https://localhost/", allow_http=False), loopback))


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "[::]"]
)
def test_other_spellings_of_loopback_lead_nowhere(host: str) -> None:
    with pytest.raises(NoDestination):
        resolve(parse(f"https://{host}/", allow_http=False), [])


def test_a_name_without_an_address_is_told() -> None:
    with pytest.raises(NoDestination, match=r"nowhere\.invalid has no address"):
        resolve(parse("https://nowhere.invalid/", allow_http=False), [])
