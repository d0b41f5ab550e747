"""A rolling upgrade: nodes of another version and of this one, on one MariaDB and one Redis.

``python -m lab.upgrade FOLDER`` takes the other version's checkout (``git worktree add FOLDER COMMIT`` makes
one) and goes through an upgrade and back: both nodes of the other version, one of each, both of this one, one
of each again.  In each step two users at each node write to each other and to a group, recall, type and read.
Each message must come to every device but the sender's, once and in order, within ``LATEST`` seconds.  Nodes
are ended as by a rolling upgrade (SIGINT), and once by SIGKILL.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from lab import ROOT
from lab.servers.mariadb import MariaDb
from lab.servers.node import Node
from lab.servers.program import LabError
from lab.servers.redis import Redis

LATEST = 1.0
"""Seconds in which a message must have come."""

ROUNDS = 20
"""Messages that each device writes in a step, to a user and to the group each."""

PASSWORD = "correct horse"

ENTRIES = (6, 10, 17)
"""The msgids of entries of a conversation."""

DEADLINE = 15.0
"""Seconds that anything may take before the lab gives up."""


class Device:
    """A device of a user: a plain socket, and the frames that came over it."""

    _numbers = count()

    def __init__(self, node: Node, name: str, device: str) -> None:
        self.name, self.device = name, device
        self.worst = 0.0
        self._socket = socket.create_connection((node.host, node.port), DEADLINE)
        self._unread = b""
        self._got: list[dict[str, Any]] = []
        self._last: dict[int, int] = {}  # seq of each conversation
        self.ask(4, name=name, password=PASSWORD)  # in vain if it is not the first
        ack = self.do(1, name=name, password=PASSWORD, device=device, force=True)
        self.id: int = ack["id"]
        while ack["more"]:
            ack = self.do(25)

    def ask(self, msgid: int, **fields: Any) -> dict[str, Any]:
        """Send a request, and return its reply."""
        cid = self.put(msgid, **fields)
        return self._find(lambda frame: frame.get("cid") == cid and "errno" in frame)

    def do(self, msgid: int, **fields: Any) -> dict[str, Any]:
        """Send a request that must be done, and return its reply."""
        reply = self.ask(msgid, **fields)
        if reply["errno"]:
            raise LabError(f"{self.name}/{self.device} was told {reply}")
        return reply

    def put(self, msgid: int, **fields: Any) -> str:
        """Send a request; return its cid."""
        cid = f"{self.name}/{self.device}/{next(self._numbers)}"
        self._socket.sendall(json.dumps({"msgid": msgid, "cid": cid, **fields}).encode() + b"\n")
        return cid

    def hear(self, sent: float, **wanted: Any) -> dict[str, Any]:
        """Wait for a push with some fields, and note the seconds since an instant."""
        frame = self._find(lambda frame: wanted.items() <= frame.items())
        self.worst = max(self.worst, monotonic() - sent)
        return frame

    def _find(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = monotonic() + DEADLINE
        while True:
            for place, frame in enumerate(self._got):
                if is_it(frame):
                    del self._got[: place + 1]
                    return frame
            self._socket.settimeout(max(end - monotonic(), 0.001))
            try:
                data = self._socket.recv(65_536)
            except TimeoutError:
                raise LabError(f"{self.name}/{self.device} waits in vain; it has {self._got[-3:]}") from None
            if not data:
                raise LabError(f"{self.name}/{self.device} was disconnected")
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._note(json.loads(line))

    def _note(self, frame: dict[str, Any]) -> None:
        self._got.append(frame)
        if "errno" not in frame and frame["msgid"] in ENTRIES:
            where = frame.get("groupid", 0)  # all that is said in pairs is said in one
            if frame["seq"] <= self._last.get(where, 0):
                raise LabError(f"{self.name}/{self.device} got {frame} after {self._last[where]}")
            self._last[where] = frame["seq"]
            self._confirm(frame)

    def _confirm(self, entry: dict[str, Any]) -> None:
        """Send RECEIVED."""
        where = {name: entry[name] for name in ("groupid", "peerid") if name in entry}
        if not where:
            where = {"peerid": entry["toid"] if entry["id"] == self.id else entry["id"]}
        self._socket.sendall(json.dumps({"msgid": 13, "seq": entry["seq"], **where}).encode() + b"\n")


class Upgrade:
    """Two nodes, and users with a device at each.

    Args:
        other: the checkout of the other version.
        folder: for data and logs.
        stack: ends all that is started.
    """

    def __init__(self, other: Path, folder: Path, stack: ExitStack) -> None:
        self._other = other
        for name in ("mariadb", "redis", "nodes"):
            (folder / name).mkdir()
        self._folder = folder / "nodes"
        mariadb, redis = MariaDb(folder / "mariadb"), Redis(folder / "redis")
        for program in (mariadb, redis):
            stack.callback(program.stop)
            program.install()
        mariadb.fresh()
        self._urls = mariadb.url(), redis.url()
        self._stack = stack
        self.nodes: dict[str, Node] = {}
        self.devices: dict[str, list[Device]] = {}

    def start(self, name: str, is_other: bool) -> None:
        """Start a node of one of the versions."""
        folder = self._folder / f"{name}-{len(list(self._folder.iterdir()))}"
        folder.mkdir()
        root = self._other if is_other else ROOT
        node = Node(folder, name, *self._urls, "--heartbeat-interval", 3600, root=root)
        self._stack.callback(node.stop)
        node.start()
        self.nodes[name] = node
        self.devices[name] = [Device(node, user, name) for user in ("ann", "bob")]

    def talk(self, groupid: int) -> float:
        """Have everybody write to everybody; return the longest time that a message took, in seconds."""
        devices = [device for pair in self.devices.values() for device in pair]
        for device in devices:
            device.worst = 0.0
        for _ in range(ROUNDS):
            for sender in devices:
                others = [device for device in devices if device is not sender]
                peer = next(device for device in devices if device.name != sender.name)
                self._chat(sender, others, msgid=6, toid=peer.id)
                self._chat(sender, others, msgid=10, groupid=groupid)
                self._type(sender, others, groupid)
        for sender in devices:
            others = [device for device in devices if device is not sender]
            self._recall(sender, others, groupid)
        return max(device.worst for device in devices)

    def _chat(self, sender: Device, others: list[Device], msgid: int, **where: int) -> None:
        sent = monotonic()
        ack = sender.do(msgid, msg=f"at {sent}", **where)
        for device in others:
            push = device.hear(sent, msgid=msgid, seq=ack["seq"], msg=f"at {sent}", id=sender.id)
            is_own = device.name == sender.name
            if (push.get("cid") == ack["cid"]) != is_own:
                raise LabError(f"{device.name}/{device.device} got the cid of {push}")

    def _type(self, sender: Device, others: list[Device], groupid: int) -> None:
        sent = monotonic()
        sender.put(26, groupid=groupid)
        for device in others:
            if device.name != sender.name:
                device.hear(sent, msgid=26, id=sender.id, groupid=groupid)

    def _recall(self, sender: Device, others: list[Device], groupid: int) -> None:
        ack = sender.do(10, groupid=groupid, msg="never mind")
        sent = monotonic()
        recalled = sender.do(17, groupid=groupid, target=ack["seq"])
        for device in others:
            device.hear(sent, msgid=17, seq=recalled["seq"], target=ack["seq"])
        sent = monotonic()
        sender.put(27, groupid=groupid, seq=recalled["seq"])
        for device in others:
            device.hear(sent, msgid=27, id=sender.id, seq=recalled["seq"])


STEPS = (
    ("both of the other version", "", ""),
    ("a is of this version", "a", "stop"),
    ("b too", "b", "stop"),
    ("b is put back", "b", "kill"),
    ("a too", "a", "stop"),
)


def run(other: Path, folder: Path) -> bool:
    """Go through an upgrade and back; print how long messages took, and return True if all is well."""
    with ExitStack() as stack:
        upgrade = Upgrade(other, folder, stack)
        versions = {"a": True, "b": True}
        for name, is_other in versions.items():
            upgrade.start(name, is_other)
        ann, bob = upgrade.devices["a"]
        groupid = ann.do(8, groupname="all")["groupid"]
        bob.do(9, groupid=groupid)
        is_well = True
        for step, name, how in STEPS:
            if name:
                versions[name] = not versions[name]
                node = upgrade.nodes[name]
                (node.interrupt if how == "stop" else node.kill)()
                upgrade.start(name, versions[name])
            seconds = upgrade.talk(groupid)
            is_well &= seconds <= LATEST
            print(f"{step:30} longest delivery {seconds:.3f} s", flush=True)
        complaints = [line for node in upgrade.nodes.values() for line in node.complaints]
        for line in complaints:
            print(line)
    return is_well


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.upgrade", description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of the other version")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="greenchat-upgrade-"))
    try:
        return 0 if run(options.folder.resolve(), folder) else 1
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
