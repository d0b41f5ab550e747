"""HTTP as a program speaks it to a real server: calls, and streams of events."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

DEADLINE = 60.0
"""Seconds that anything may take."""


class Answer(NamedTuple):
    """An answer to a call."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def errno(self) -> int:
        """The errno of a problem, which it must be."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["error"]
        assert problem["detail"]
        return int(problem["errno"])


class Caller:
    """A program with a token, or a page with a cookie, or neither.

    Args:
        port: the web port.
        token: sent with each call.
        headers: more of them.
    """

    def __init__(self, port: int, token: str = "", **headers: str) -> None:
        self.port = port
        self.token = token
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Make a call on a connection of its own; the body is made JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            sent = self._headers(headers)
            if data is not None:
                sent = {"Content-Type": "application/json"} | sent
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)

    def begin(self, name: str, device: str, password: str = "pw", **headers: str) -> tuple[str, str]:
        """Begin a session; return the name and the value of its cookie."""
        answer = self.post("/session", {"name": name, "password": password, "device": device}, **headers)
        assert answer.status == 204, answer
        cookie, _, _ = answer.headers["set-cookie"].partition(";")
        cookie_name, _, value = cookie.partition("=")
        return cookie_name, value

    def events(self, last: str = "", **headers: str) -> Events:
        """Open a stream of events."""
        if last:
            headers["Last_Event_ID"] = last
        return Events(self.port, self._headers(headers))

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return token | self.headers | {name.replace("_", "-"): value for name, value in more.items()}


class Event(NamedTuple):
    """An event as it came; ``data`` is None without one (a new ``retry`` alone)."""

    id: str
    type: str
    data: Any
    retry: int


class Events:
    """A stream of events."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        lines = ["GET /api/v1/events HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file: IO[bytes] = self.sock.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value
        if "content-length" in self.headers:  # one that is to come back later: the whole stream
            self._file = io.BytesIO(self._file.read(int(self.headers["content-length"])))

    def __iter__(self) -> Iterator[Event]:
        """Yield the events up to the end of the stream."""
        fields: dict[str, str] = {}
        while line := self._file.readline():
            text = line.decode().removesuffix("\n")
            if text:
                name, _, value = text.partition(": ")
                fields[name] = value
            elif fields.keys() - {""}:
                fields.pop("", None)
                data = json.loads(fields["data"]) if "data" in fields else None
                yield Event(fields.get("id", ""), fields.get("event", ""), data, int(fields.get("retry", 0)))
                fields = {}

    def next(self, type: str = "") -> Event:
        """Return the next event of a type: an entry, if it has none."""
        until = time.monotonic() + DEADLINE
        for event in self:
            if event.type == type and (type or event.id):
                return event
            assert time.monotonic() < until
        raise EOFError

    def entries(self, count: int) -> list[str]:
        """Return the ids of the next entries."""
        return [self.next().id for _ in range(count)]

    def close(self) -> None:
        self._file.close()
        self.sock.close()
