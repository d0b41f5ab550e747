"""Host and Origin: which server a request is for, and which pages may act with a cookie."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.http.call import Call, Headers, HttpError
from greenchat.http.origin import Origins
from tests.http.support import Served

Serve = Callable[..., Served]

ORIGINS = Origins(
    ["chat.example", "[2001:db8::1]"], ["https://intranet.example", "http://dev.example:3000"], "::1"
)


def call(host: str = "chat.example", *, secure: bool = False, **headers: str) -> Call:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Call(
        method="POST",
        path="/",
        parameters={},
        query={},
        headers=Headers(pairs),
        body=b"",
        address="127.0.0.1:1",
        host=host,
        version="1.1",
        secure=secure,
        service=None,
    )


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "chat.localhost", "127.0.0.1:80", "127.9.9.9", "[::1]:8080", "[::1]",
     "chat.example", "chat.example:443", "10.1.1.1:8080", "[2001:db8::1]", ""],
)  # fmt: skip
def test_these_are_names_of_the_server(host: str) -> None:
    ORIGINS.check_host(host, "10.1.1.1")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("chat.example.evil.example", 421),
        ("10.1.1.2", 421),
        ("localhost.evil.example", 421),
        ("2130706433", 421),
        ("chat.example:", 400),
        ("chat.example:x", 400),
        ("user@localhost", 400),
        ("localhost/", 400),
        ("[::1", 400),
        (" ", 400),
    ],
)
def test_these_are_not(host: str, status: int) -> None:
    with pytest.raises(HttpError) as raised:
        ORIGINS.check_host(host, "10.1.1.1")
    assert raised.value.status == status


SAME = [
    ("http://chat.example", "chat.example", False),
    ("http://chat.example", "chat.example:80", False),
    ("https://chat.example", "chat.example", True),
    ("https://chat.example:443", "chat.example", True),
    ("https://chat.example", "chat.example", False),  # a proxy that does not tell the scheme
    ("http://localhost:8080", "localhost:8080", False),
    ("HTTPS://Chat.Example", "chat.example", True),
    ("https://intranet.example", "chat.example", True),
    ("http://dev.example:3000", "chat.example", False),
]
OTHER = [
    ("null", "chat.example", False),
    ("https://evil.example", "chat.example", True),
    (
        "http://chat.example",
        "chat.example",
        True,
    ),  # the same name, but anybody on the way can write that page
    ("http://chat.example:8080", "chat.example", False),
    ("http://localhost:3000", "localhost:8080", False),
    ("https://chat.example.evil.example", "chat.example", True),
    ("https://user@chat.example", "chat.example", True),
    ("file://", "", False),
    ("http://[", "chat.example", False),
    ("http://", "", False),
    ("chrome-extension://abc", "abc", False),
]


@pytest.mark.parametrize(("origin", "host", "secure"), SAME)
def test_a_page_of_the_server_may_act(origin: str, host: str, secure: bool) -> None:
    ORIGINS.check_change(call(host, secure=secure, origin=origin))
    ORIGINS.check_upgrade(call(host, secure=secure, origin=origin), with_cookie=True)


@pytest.mark.parametrize(("origin", "host", "secure"), OTHER)
def test_a_page_of_another_site_may_not(origin: str, host: str, secure: bool) -> None:
    for check in (ORIGINS.check_change, lambda one: ORIGINS.check_upgrade(one, with_cookie=False)):
        with pytest.raises(HttpError) as raised:
            check(call(host, secure=secure, origin=origin))
        assert raised.value.status == 403


def test_without_an_origin_the_browser_has_to_say_where_from() -> None:
    ORIGINS.check_change(call(sec_fetch_site="same-origin"))
    for site in ("same-site", "cross-site", "none", ""):
        with pytest.raises(HttpError):
            ORIGINS.check_change(call(sec_fetch_site=site))
    with pytest.raises(HttpError):
        ORIGINS.check_change(call(origin="https://evil.example", sec_fetch_site="same-origin"))


def test_a_program_may_open_a_websocket_without_an_origin_but_not_with_a_cookie() -> None:
    ORIGINS.check_upgrade(call(), with_cookie=False)
    with pytest.raises(HttpError):
        ORIGINS.check_upgrade(call(), with_cookie=True)


def test_a_wrong_host_is_421_and_a_probe_is_answered(serve: Serve) -> None:
    served = serve(hosts=["chat.example"])
    assert served.get("/", "Host: evil.example").status == 421
    assert served.get("/nothing", "Host: evil.example").status == 421
    assert served.get("/health", "Host: evil.example").status == 200
    assert served.get("/", "Host: CHAT.example:9").status == 200
    assert served.get("/", f"Host: 127.0.0.1:{served.address[1]}").status == 200
