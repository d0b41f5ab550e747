"""Attacks on a server of its own, while innocent clients chat on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenchat.model.records import SHOWN_MEMBERS, SMALL_GROUP
from lab import machine
from lab.fill import Filling, Person
from lab.hostile.attack import Attacker, attackers
from lab.hostile.innocents import Browser, Innocent, Pair, Reader
from lab.percentiles import spread
from lab.servers.node import Node
from lab.servers.program import LabError, free_port, private
from lab.servers.redis import Redis
from lab.websocket import CLOSE, CONTINUATION, PING, masked, upgrade_request

HELD = ("--exempt", "192.0.2.0/24")
"""Loopback is held to all limits."""

MENU = (*HELD, "--login-timeout", "0.3", "--max-silent", "100", "--max-silent-per-address", "4")
"""There is little room for users that read a menu, and it is needed soon."""

HEADER = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"

CHAT = "x" * 4_000


@dataclass
class Scene:
    """The means of a scenario.

    Attributes:
        fill: fills the database.
        scale: how many times the peers of the tests.
    """

    fill: Filling
    scale: int

    def crowd(self, count: int) -> list[Person]:
        """Return users, not scaled: members of groups that are as large as groups can be."""
        return self.fill.people(count, first=100_000)

    def people(self, count: int) -> list[Person]:
        """Return so many users, scaled."""
        return self.fill.people(count * self.scale, first=1_000)


@dataclass
class Scenario:
    """An attack.

    Attributes:
        peers: makes the attackers.
        options: of the server.
        header: that innocents send first.
        tls: True if the server speaks TLS.
        in_cluster: True for a server with a Redis: memberships may have changed at other servers.
        web: True if the attackers come to the web port, where a third innocent loads a page again and again.
        at_the_menu: True if a user of an original client reads its menu meanwhile, and logs in then.
    """

    peers: Callable[[Scene], list[Attacker]]
    options: tuple[str, ...] = ()
    header: str = ""
    tls: bool = False
    in_cluster: bool = False
    at_the_menu: bool = False
    web: bool = False


def some(count: int, **kwargs: Any) -> Callable[[Scene], list[Attacker]]:
    """Return a maker of so many attackers, a hundred from each address."""
    return lambda scene: [
        Attacker(source=f"127.0.1.{1 + number // 100 % 250}", **kwargs)
        for number in range(count * scene.scale)
    ]


def each_from_two(count: int, opening: str = "") -> Callable[[Scene], list[Attacker]]:
    """Return a maker of so many attackers that say no more than this, two from each address."""
    return lambda scene: [
        Attacker(source=f"127.1.{number // 500}.{1 + number // 2 % 250}", opening=opening)
        for number in range(count * scene.scale)
    ]


def login(person: Person) -> str:
    """Return the request that logs somebody in."""
    return json.dumps({"msgid": 1, "id": person.id, "token": person.token, "force": True}) + "\n"


def one_chat(receiver: int) -> str:
    return json.dumps({"msgid": 6, "toid": receiver, "msg": CHAT}) + "\n"


def group_chat() -> str:
    return json.dumps({"msgid": 10, "groupid": 1, "msg": CHAT}) + "\n"


def crowd_of(scene: Scene, count: int, reads: bool) -> list[Attacker]:
    """Return members of a group that read or do not, and one that floods it."""
    members = scene.people(count)
    scene.fill.group(members)
    flooder, *others = members
    return [
        *(
            Attacker(
                f"127.0.1.{1 + number // 100}", login(one), again='{"msgid":12}\n', pace=0.05, reads=reads
            )
            for number, one in enumerate(others)
        ),
        Attacker(opening=login(flooder), again=group_chat(), reads=True),
    ]


def to_offline(scene: Scene) -> list[Attacker]:
    """Return some that send megabytes to absent users."""
    senders = scene.people(4)
    return [Attacker(opening=login(one), again=one_chat(1_000), reads=True) for one in senders[1:]]


def deaf_readers(scene: Scene) -> list[Attacker]:
    """Return some that ask for the longest answers and read none."""
    asking = '{"msgid":15,"peerid":1,"limit":200}\n'
    return [Attacker(opening=login(one), again=asking) for one in scene.people(20)]


def strangers(scene: Scene) -> list[Attacker]:
    """Return strangers that make every request about a group of 10,000."""
    scene.fill.group(scene.crowd(LARGE))
    return [Attacker(opening=login(one), again=QUESTIONS, reads=True) for one in scene.people(4)]


def comes_again(scene: Scene) -> list[Attacker]:
    """Return connections of one account that reads as much at its login as there can be, and comes again."""
    members = scene.crowd(SMALL_GROUP)
    for number in range(SHOWN_MEMBERS // SMALL_GROUP):
        scene.fill.group(members, 1 + number)
    return [Attacker(opening=login(members[0]), reads=True, stays=False) for _ in range(4 * scene.scale)]


LARGE = 10_000
"""Members of a group: as many as the settings allow."""

QUESTIONS = "".join(
    json.dumps({"msgid": msgid, "groupid": 1} | fields) + "\n"
    for msgid, fields in (
        (10, {"msg": "x"}),
        (13, {"seq": 1}),
        (15, {}),
        (17, {"target": 1}),
        (21, {}),
        (26, {}),
        (27, {"seq": 1}),
        (29, {}),
    )
)
"""Each request about a group, once."""

FLOODS = {
    "empty lines": "\n" * 16_384,
    "1-byte frames": "x\n" * 8_192,
    "heartbeats": '{"msgid":12}\n' * 1_000,
}

GET = "GET / HTTP/1.1\r\nHost: localhost\r\n"

POST = "POST /hooks/none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"

PATIENT = ("--login-timeout", "2")
"""The head of a request, and its body, have so many seconds."""

WEB = {
    "web: silent connections": Scenario(some(300), PATIENT, web=True),
    "web: slow heads": Scenario(some(200, again=GET + "X: " + "x" * 10_000, pace=0.01), PATIENT, web=True),
    "web: slow bodies": Scenario(some(200, opening=POST, again="x", pace=0.01), PATIENT, web=True),
    "web: heads never ended": Scenario(some(300, opening=GET + "X: " + "x" * 15_000), web=True),
    "web: oversized heads": Scenario(
        some(20, opening=GET + "X: " + "x" * 60_000 + "\r\n\r\n", reads=True, stays=False), web=True
    ),
    "web: pipelined, exempt": Scenario(some(5, again=(GET + "\r\n") * 300, reads=True), web=True),
    "web: pipelined, held": Scenario(some(20, again=(GET + "\r\n") * 300, reads=True), HELD, web=True),
    "web: pipelined, unread": Scenario(some(20, again=(GET + "\r\n") * 300), web=True),
    "web: tiny chunks": Scenario(
        some(
            20,
            opening=POST.replace("Content-Length: 60000", "Transfer-Encoding: chunked"),
            again="1\r\nx\r\n" * 2_000,
            reads=True,
        ),
        web=True,
    ),
    "web: connections that go": Scenario(some(50, stays=False), web=True),
    "web: connections that stay": Scenario(
        some(300), (*HELD, "--max-connections-per-address", "20"), web=True
    ),
}
"""Attacks on the web port."""

UPGRADE = upgrade_request().decode()

FIRST, NEXT = masked(b"x" * 60, final=False), masked(b"", CONTINUATION, final=False)
"""Fragments: the first of a message, and an empty one that follows."""

BROKEN = [
    b"\x81\x02{}",  # not masked
    masked(b"x" * 126, PING),
    masked("\xe9".encode()[:1]),  # a text that ends within a character
    FIRST + masked(b"\x03\xe8", CLOSE),  # a close within a message
    b"\xc1" + masked(b"{}")[1:],  # a reserved bit
    masked(b"{}", CONTINUATION),
    masked(b"{}", 2),
]
"""Whatever a server must not take of a client on WebSocket, or end with."""


def breakers(scene: Scene) -> list[Attacker]:
    """Return clients that break the rules of WebSocket at once, and come again."""
    return [
        Attacker("127.0.1.1", UPGRADE + frame.decode("latin-1"), reads=True)
        for frame in BROKEN * (5 * scene.scale)
    ]


def on_websocket(count: int, opening: bytes = b"", again: bytes = b"", **kwargs: Any) -> Scenario:
    """Return an attack on WebSocket by so many that have upgraded."""
    said = UPGRADE + opening.decode("latin-1")
    return Scenario(some(count, opening=said, again=again.decode("latin-1"), **kwargs), web=True)


WEBSOCKET = {
    "websocket: broken frames": Scenario(breakers, web=True),
    "websocket: empty fragments": on_websocket(5, FIRST, NEXT * 10_000),
    "websocket: never ended": on_websocket(200, masked(b"x" * 60_000, final=False)),
    "websocket: pings, unread": on_websocket(20, again=masked(b"x" * 125, PING) * 1_000),
    "websocket: heartbeats, unread, exempt": on_websocket(20, again=masked(b'{"msgid":12}') * 1_000),
}
"""Attacks on WebSocket."""

SCENARIOS = {
    "nobody": Scenario(lambda scene: []),
    "silent connections": Scenario(some(300), options=("--login-timeout", "2")),
    "silent, of many addresses": Scenario(each_from_two(400), MENU, at_the_menu=True),
    "newcomers of many addresses": Scenario(
        each_from_two(400, "{"), (*MENU, "--max-strangers", "150"), at_the_menu=True
    ),
    "frames byte by byte": Scenario(some(100, again='{"msgid":12,"x":"' + "x" * 60_000, pace=0.01)),
    "frames never ended": Scenario(some(200, opening='{"msgid":12,"x":"' + "x" * 60_000)),
    "PROXY header only": Scenario(some(300, opening=HEADER[:20]), ("--proxy-protocol",), header=HEADER),
    "TLS handshake only": Scenario(some(300, opening="\x16\x03\x01"), tls=True),
    "connections that go": Scenario(some(50, stays=False)),
    "connections that stay": Scenario(some(300), (*HELD, "--max-connections-per-address", "20")),
    "connections of many": Scenario(some(300), (*HELD, "--max-strangers", "50")),
    **{f"{name}, exempt": Scenario(some(5, again=data, reads=True)) for name, data in FLOODS.items()},
    "heartbeats, held": Scenario(some(20, again=FLOODS["heartbeats"], reads=True), HELD),
    "requests refused": Scenario(some(20, again='{"msgid":25}\n' * 1_000, reads=True), HELD),
    "heartbeats, unread": Scenario(some(20, again=FLOODS["heartbeats"])),
    "histories, unread": Scenario(deaf_readers),
    "a group that never reads": Scenario(lambda scene: crowd_of(scene, 30, reads=False)),
    "a large group": Scenario(lambda scene: crowd_of(scene, 300, reads=True)),
    "a large group, held": Scenario(lambda scene: crowd_of(scene, 300, reads=True), HELD),
    "megabytes to the offline": Scenario(to_offline),
    "megabytes, held": Scenario(to_offline, HELD),
    "strangers to a large group": Scenario(strangers, HELD, in_cluster=True),
    "costly logins, held": Scenario(comes_again, HELD),
    **WEB,
    **WEBSOCKET,
}
"""With the sizes of the tests."""


def run(name: str, folder: Path, seconds: float, scale: int = 1) -> dict[str, Any]:
    """Attack a server of its own while two innocents chat, and return the figures.

    Args:
        name: of the scenario.
        folder: for the server's database and log.
        seconds: how long the attack lasts.
        scale: how many times the peers of the tests.

    Raises:
        LabError: an innocent has suffered.
    """
    scenario, store = SCENARIOS[name], f"sqlite:///{folder / 'chat.db'}"
    with closing(Filling(store)) as fill:
        innocents = fill.people(2)
        peers = scenario.peers(Scene(fill, scale))
    options = [*scenario.options, *(certificate(folder) if scenario.tls else ())]
    web = ("127.0.0.1", free_port()) if scenario.web else None
    if web:
        options += ["--web", "{}:{}".format(*web)]
    with ExitStack() as leaving:
        bus = leaving.enter_context(private(Redis)).url() if scenario.in_cluster else "local://"
        server = Node(folder, "target", store, bus, *options)
        server.start()
        leaving.callback(server.stop)
        address = (server.host, server.port)
        one, other = (Innocent(address, each, scenario.header, scenario.tls) for each in innocents)
        pair = Pair(one, other, Browser(web) if web else None)
        leaving.callback(pair.close)
        reader = Reader(address) if scenario.at_the_menu else None
        pair.chat(0.5)
        before = machine.rss_mib(server.pid)
        machine.forget_peak(server.pid)
        calm = spread([second * 1000 for second in pair.seconds])
        pair.seconds.clear()
        try:
            with attackers(web or address, peers):
                pair.chat(seconds)
        except LabError as error:
            raise LabError(f"{error}\n{server.log[-2_000:]}") from None
        figures = {
            "peers": len(peers),
            "rss_before_mib": round(before, 1),
            "rss_peak_mib": round(machine.peak_mib(server.pid), 1),
            "calm_ms": calm,
            "innocents_ms": spread([second * 1000 for second in pair.seconds]),
        }
        if reader is not None:
            reader.log_in()
        pair.seconds.clear()
        pair.chat(0.0)  # and all is well afterwards
    if "Traceback" in server.log:
        raise LabError(f"the server has a bug:\n{server.log}")
    return figures


def certificate(folder: Path) -> list[str]:
    """Make a certificate for the server, and return the options for it."""
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", *words, "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return ["--tls-cert", cert, "--tls-key", key]
