"""Finds the row of the table of routes that a request is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from greenchat.http.call import HttpError, Response, Route

ALL = "DELETE, GET, HEAD, OPTIONS, POST, PUT"
"""The methods of the whole server."""


class Routes:
    """The table of routes, as a tree of the paths' segments.

    Args:
        rows: the table.

    Example::

        routes = Routes([Route("GET", "/api/v1/groups/{id}", group)])
        route, parameters = routes.find("GET", "/api/v1/groups/12")  # {"id": "12"}
    """

    def __init__(self, rows: Iterable[Route] = ()) -> None:
        self.rows: list[Route] = []
        self._root: _Node = _Node()
        self.add(rows)

    def add(self, rows: Iterable[Route]) -> None:
        """Add rows to the table."""
        for row in rows:
            self.rows.append(row)
            node = self._root
            for segment in row.segments:
                name = segment[1:-1] if segment.startswith("{") else ""
                node = node.parameter() if name else node.exact.setdefault(segment, _Node())
            assert row.method not in node.methods, row.path
            node.methods[row.method] = row

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Return the row for a request, and the values of its parameters.

        Args:
            method: HEAD finds the row of GET.
            path: as sent, without the query; an encoded slash separates no segments.

        Raises:
            HttpError: 400, 404, or 405 with the methods that there are.
        """
        try:
            segments = [unquote(segment, errors="strict") for segment in path.split("/")[1:]]
        except UnicodeDecodeError:
            raise HttpError(400, "the path is not UTF-8") from None
        node = self._root.follow(segments)
        if method == "OPTIONS":
            allowed = node.allowed if node is not None and node.methods else ALL
            return Route("OPTIONS", "*", lambda call: Response(204, [("allow", allowed)])), {}
        if node is None or not node.methods:
            raise HttpError(404, "there is nothing at this path")
        row = node.methods.get("GET" if method == "HEAD" else method)
        if row is None:
            raise HttpError(405, f"the methods here are {node.allowed}", [("allow", node.allowed)])
        return row, {
            template[1:-1]: value
            for template, value in zip(row.segments, segments, strict=True)
            if template.startswith("{")
        }


class _Node:
    """The paths that begin with the same segments."""

    __slots__ = ("any", "exact", "methods")

    def __init__(self) -> None:
        self.exact: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.methods: dict[str, Route] = {}

    def parameter(self) -> _Node:
        if self.any is None:
            self.any = _Node()
        return self.any

    def follow(self, segments: list[str]) -> _Node | None:
        """Return the node of a path; an exact segment goes before a parameter."""
        if not segments:
            return self
        first, rest = segments[0], segments[1:]
        found: _Node | None = None
        if first in self.exact:
            found = self.exact[first].follow(rest)
        if found is None and self.any is not None and first not in ("", ".", ".."):
            found = self.any.follow(rest)
        return found

    @property
    def allowed(self) -> str:
        names = {*self.methods, "OPTIONS", *(["HEAD"] if "GET" in self.methods else [])}
        return ", ".join(sorted(names))
