"""The doors of the floor plan: which room may import what."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import ROOT

IO = {"asyncio", "select", "selectors", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "threading"}
"""Of the standard library, what a room that knows no sockets, no SQL and no threads leaves alone."""

EVERYTHING = {"*"}


class Doors(NamedTuple):
    """What a room may import."""

    rooms: set[str] = set()
    libraries: set[str] = set()
    pure: bool = False
    """Nothing of IO either."""


OUTSIDE_SERVICE = {"errors", "metrics", "model", "ports", "protocol"}


def _service(*inside: str, libraries: tuple[str, ...] = ()) -> Doors:
    rooms = {f"service/{room}" for room in inside}
    return Doors(OUTSIDE_SERVICE | rooms, set(libraries), pure=True)


SERVICE = (
    {"service": Doors(pure=True)},
    {
        "service/identity": _service(libraries=("argon2", "msgspec")),
        "service/delivery": _service(libraries=("msgspec",)),
    },
    {"service/presence": _service("delivery")},
    {"service/service": _service("identity", "delivery", "presence")},
    {"service/doubt": _service("identity", "service")},
    {"service/device": _service("delivery", "service", "doubt", libraries=("msgspec",))},
    {
        "service/requests": _service(
            "identity", "delivery", "presence", "service", "doubt", "device", libraries=("msgspec",)
        )
    },
    {"service/routes": _service("device", "requests")},
    {
        "service/session": _service("service", "device", "routes"),
        "service/node_session": _service("delivery", "service", "device"),
    },
    {"service/visit": _service("service", "device", "requests", "session")},
    {"service/incoming": _service("service", "device", "requests", "visit")},
)
"""The floors of the service."""

OUTSIDE_DATA = {"errors", "metrics", "model", "ports"}


def _data(*inside: str) -> Doors:
    return Doors(OUTSIDE_DATA | {f"data/{room}" for room in inside}, {"sqlalchemy", "gevent"})


DATA = (
    {"data/schema": _data()},
    {"data/migrations": _data("schema")},
    {"data/engine": _data("schema", "migrations")},
    {"data/queries": _data("schema", "engine")},
    {
        "data/commit": _data("engine", "queries"),
        "data/lease": _data("schema", "migrations"),
        "data/upgrade": _data("engine", "migrations"),
    },
    {"data/store": _data("engine", "queries", "commit", "lease", "migrations", "upgrade")},
    {"data": _data("engine", "store")},
)
"""The floors of the database."""

OUTSIDE_BUS = {"errors", "model", "ports"}


def _bus(*inside: str, libraries: tuple[str, ...] = ()) -> Doors:
    return Doors(OUTSIDE_BUS | {f"bus/{room}" for room in inside}, set(libraries))


BUS = (
    {"bus/local": _bus(), "bus/cluster": _bus(libraries=("gevent",))},
    {"bus/redis": _bus("local", libraries=("redis", "gevent"))},
    {"bus": _bus("local", "cluster", "redis")},
)
"""The floors of the bus."""

FLOORS = (
    {"errors": Doors(pure=True), "metrics": Doors(pure=True), "model": Doors(pure=True)},
    {"config": Doors({"errors"}, pure=True), "extras": Doors(pure=True)},
    {
        "ports": Doors({"errors", "model"}, pure=True),
        "protocol": Doors({"errors", "model"}, {"msgspec"}, pure=True),
    },
    *SERVICE,
    *DATA,
    *BUS,
    {
        "network": Doors({"errors", "ports", "protocol", "metrics"}, {"gevent"}),
        "client/core": Doors({"errors", "model", "protocol"}, {"simplejson"}, pure=True),
    },
    {
        "http": Doors(
            {"errors", "metrics", "model", "ports", "protocol", "service/identity"},
            {"gevent", "h11", "msgspec"},
        )
    },
    {
        "http/api": Doors(
            {
                *("errors", "model", "ports", "protocol", "http"),
                *("service/requests", "service/service", "service/session", "service/visit"),
            },
            {"gevent", "msgspec"},
        )
    },
    {"client": Doors({"errors", "protocol", "client/core"})},
    {"client/aio": Doors({"errors", "protocol", "client/core", "client"})},
    {"client/terminal": Doors({"errors", "model", "client", "client/core"}, {"prompt_toolkit"})},
    {"client/__main__": Doors({"extras", "client/terminal"})},
    {
        "web": Doors(pure=True),
        "outgoing": Doors({"errors", "model", "ports", "metrics"}, {"gevent", "h11"}),
        "admin": Doors({"errors"}),
    },
    {"server": Doors(EVERYTHING, EVERYTHING)},
)
"""The rooms, by their paths; the lowest floor first.  A module that is named here is a room of its own."""

ROOMS = {room: doors for floor in FLOORS for room, doors in floor.items()}

MOST_MODULES = 20
"""A room that would hold more is to be split by subject."""


def imports(source: str, package: str) -> Iterator[str]:
    """Yield the dotted name of all that a module of ``package`` imports, wherever it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """Return the room of a dotted name, empty if it is in none."""
    parts = name.split(".")[1:]
    paths = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((path for path in paths if path in ROOMS), "")


def closed_doors(source: str, package: str, room: str) -> set[str]:
    """Return the imports of a module that its room may not make."""
    doors = ROOMS[room]
    return {name for name in imports(source, package) if not _open(name, doors, room)}


def patches(source: str) -> bool:
    """Tell whether a module names one of gevent's functions that monkey-patch."""
    named = {ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    named |= {name for name in imports(source, "") if name.startswith("gevent.")}
    return any("monkey.patch_" in name for name in named)


def _open(name: str, doors: Doors, room: str) -> bool:
    top = name.partition(".")[0]
    if top == "greenchat":
        if name == "greenchat.__version__":
            return True
        other = room_of(name)
        return other != "" and (other in {room, *doors.rooms} or doors.rooms == EVERYTHING)
    if top in sys.stdlib_module_names:
        return not (doors.pure and top in IO)
    return top in doors.libraries or doors.libraries == EVERYTHING


def _package(path: str) -> str:
    return ".".join(Path(path).parent.parts)


def _name(path: str) -> str:
    """Return the dotted name of a module."""
    return ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "greenchat").rglob("*.py"))
    if path != ROOT / "greenchat" / "__init__.py"
}
"""The source of each module, by its path."""


@pytest.mark.parametrize("path", MODULES)
def test_a_room_uses_only_its_doors(path: str) -> None:
    room = room_of(_name(path))
    assert room, f"{path} is in no room of the floor plan"
    assert not closed_doors(MODULES[path], _package(path), room)


def test_doors_lead_down_only() -> None:
    below: set[str] = set()
    for floor in FLOORS:
        for room, doors in floor.items():
            assert doors.rooms <= below or doors.rooms == EVERYTHING, room
        below |= set(floor)


def test_every_folder_is_a_package_of_a_room() -> None:
    for path in MODULES:
        assert f"{Path(path).parent}/__init__.py" in {*MODULES, "greenchat/__init__.py"}


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {_name(path): path for path in MODULES}
    arrows = {}
    for module, path in modules.items():
        used = (_module(name, modules) for name in imports(MODULES[path], _package(path)))
        arrows[module] = {name for name in used if name and name != module}
    TopologicalSorter(arrows).prepare()  # raises CycleError


def _module(name: str, modules: dict[str, str]) -> str:
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def test_no_folder_holds_too_many_modules() -> None:
    folders = Counter(str(Path(path).parent) for path in MODULES if not path.endswith("__init__.py"))
    assert [folder for folder, modules in folders.items() if modules > MOST_MODULES] == []


def test_the_package_itself_imports_nothing() -> None:
    assert not list(imports((ROOT / "greenchat" / "__init__.py").read_text(encoding="utf-8"), "greenchat"))


def test_nobody_may_import_the_server() -> None:
    assert [room for room, doors in ROOMS.items() if "server" in doors.rooms] == []


def test_only_the_servers_start_monkey_patches() -> None:
    patching = {name for name, source in MODULES.items() if patches(source)}
    assert patching <= {"greenchat/server/__main__.py"}


@pytest.mark.parametrize(
    "source", ["from gevent import monkey\nmonkey.patch_all()", "from gevent.monkey import patch_socket"]
)
def test_a_patch_is_seen(source: str) -> None:
    assert patches(source)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("network", "import greenchat.service"),
        ("network", "from greenchat import service"),
        ("network", "from greenchat.service import Session"),
        ("network", "from .. import service"),
        ("network", "from ..service import Session"),
        ("network", "def late():\n    from greenchat.service import session"),
        ("network", "if TYPE_CHECKING:\n    import greenchat.service"),
        ("network", "import greenchat"),
        ("network", "import sqlalchemy.orm"),
        ("data", "from greenchat.server.app import build"),
        ("client", "import gevent"),
        ("client", "import msgspec"),
        ("client", "import prompt_toolkit"),
        ("client", "from greenchat.client.terminal.names import quote"),
        ("client/core", "import threading"),
        ("client/core", "import asyncio"),
        ("client/core", "from greenchat.client.connection import ClientConnection"),
        ("client", "from greenchat.client.aio import Client"),
        ("service", "import gevent.event"),
        ("service", "import socket"),
        ("service", "import sqlite3"),
        ("service", "from greenchat.service.delivery.hub import Hub"),
        ("service/delivery", "from greenchat.service.identity.tokens import Tokens"),
        ("service/delivery", "from greenchat.service.device import caller"),
        ("service/identity", "import socket"),
        ("data/queries", "from greenchat.data.store import SqlStore"),
        ("data/engine", "from greenchat.data.queries import devices"),
        ("bus/redis", "from greenchat.bus.cluster.bus import ClusterBus"),
        ("bus/cluster", "from greenchat.bus.redis.registry import RedisRegistry"),
        ("bus/cluster", "import redis"),
        ("protocol", "import socket"),
        ("http", "from greenchat.network.listener import ChatServer"),
        ("network", "import h11"),
        ("errors", "import msgspec"),
    ],
)
def test_a_closed_door_is_seen(room: str, line: str) -> None:
    assert closed_doors(line, f"greenchat.{room}", room)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("network", "from . import outbox"),
        ("network", "from .outbox import Outbox"),
        ("network", "from ..errors import TooLarge"),
        ("network", "import socket"),
        ("network", "from greenchat.protocol.messages import MsgId"),
        ("network", "from greenchat.ports.peer import Peer"),
        ("service", "from greenchat import __version__"),
        ("service/requests", "from greenchat.service.device.caller import Caller"),
        ("service/routes", "from greenchat.service.requests import accounts"),
        ("protocol", "import msgspec"),
        ("server", "from greenchat.data.store import SqlStore"),
        ("server", "import prometheus_client"),
    ],
)
def test_an_open_door_is_open(room: str, line: str) -> None:
    assert not closed_doors(line, f"greenchat.{room}", room)
