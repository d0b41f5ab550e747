"""Peers that do no good, in one loop and a process of their own, so that they are as fast as the server."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import monotonic

from lab.machine import raise_file_limit
from lab.servers.program import LabError

DEADLINE = 60.0
"""Seconds after which attackers that have not ended are killed."""

TURN = 0.01
"""Seconds of a turn of the attackers' loop in which nothing happens."""


@dataclass(slots=True)
class Attacker:
    """A connection that does no good.

    Attributes:
        source: the address that it comes from, on loopback.
        opening: sent once; bytes as Latin-1 text.
        again: sent again and again; the same.
        pace: seconds between two bytes of that; 0 for as much as the server takes.
        reads: True if it reads from its socket.
        stays: True for one that stays; another goes when it has come, or when its opening is answered.
    """

    source: str = "127.0.0.2"
    opening: str = ""
    again: str = ""
    pace: float = 0.0
    reads: bool = False
    stays: bool = True


class Attack:
    """Attackers in one loop; each comes back at once when it is thrown out.

    Args:
        address: of the server.
        peers: the attackers.
    """

    def __init__(self, address: tuple[str, int], peers: list[Attacker]) -> None:
        self._address = address
        self._epoll = select.epoll()
        self._socks: dict[int, tuple[socket.socket, Attacker]] = {}
        self._waiting: dict[int, bytes] = {}
        self._paced: dict[int, float] = {}
        self._away = list(peers)

    def turn(self) -> None:
        """Connect, send and read without waiting."""
        away, self._away = self._away, []
        for peer in away:
            self._come(peer)
        self._send_paced()
        for fd, events in self._epoll.poll(TURN, 256):
            if fd in self._socks:
                self._act(fd, events)

    def _come(self, peer: Attacker) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536 if peer.reads else 4_096)
        sock.setblocking(False)
        fd = sock.fileno()
        self._socks[fd] = sock, peer
        self._waiting[fd] = peer.opening.encode("latin-1")
        try:
            sock.bind((peer.source, 0))
            sock.connect_ex(self._address)
        except OSError:
            self._go(fd)
            return
        self._epoll.register(fd, select.EPOLLOUT)

    def _go(self, fd: int) -> None:
        sock, peer = self._socks.pop(fd)
        self._waiting.pop(fd)
        self._paced.pop(fd, None)
        sock.close()
        self._away.append(peer)

    def _act(self, fd: int, events: int) -> None:
        sock, peer = self._socks[fd]
        try:
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and (
                not sock.recv(1_048_576) or not peer.stays
            ):
                self._go(fd)
                return
            if events & select.EPOLLOUT:
                self._send(fd, sock, peer)
        except BlockingIOError:
            pass
        except OSError:
            self._go(fd)

    def _send(self, fd: int, sock: socket.socket, peer: Attacker) -> None:
        if not peer.stays and not peer.opening:
            self._go(fd)
            return
        waiting = self._waiting[fd]
        if waiting:
            self._waiting[fd] = waiting[sock.send(waiting) :]
        elif peer.again and not peer.pace:
            data = peer.again.encode("latin-1")
            self._waiting[fd] = data[sock.send(data) :]
        else:
            self._epoll.modify(fd, select.EPOLLIN if peer.reads else 0)
            if peer.pace:
                self._paced[fd] = 0.0
        if peer.again and not peer.pace and peer.reads:
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def _send_paced(self) -> None:
        now = monotonic()
        for fd, due in list(self._paced.items()):
            if now < due:
                continue
            sock, peer = self._socks[fd]
            rest = self._waiting[fd] or peer.again.encode("latin-1")
            try:
                self._waiting[fd] = rest[sock.send(rest[:1]) :]
                self._paced[fd] = now + peer.pace
            except BlockingIOError:
                pass
            except OSError:
                self._go(fd)


def attack() -> None:
    """Read the target and the attackers from stdin; attack until stdin ends."""
    raise_file_limit()
    order = json.loads(sys.stdin.readline())
    going_on = Attack(tuple(order["address"]), [Attacker(**peer) for peer in order["peers"]])
    going_on.turn()
    print("attacking", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        going_on.turn()


@contextmanager
def attackers(address: tuple[str, int], peers: list[Attacker]) -> Iterator[None]:
    """Let these peers attack a server during the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from lab.hostile.attack import attack; attack()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(
            json.dumps({"address": address, "peers": [asdict(peer) for peer in peers]}) + "\n"
        )
        process.stdin.flush()
        if process.stdout.readline() != "attacking\n":
            raise LabError("the attackers did not start")
        yield
    finally:
        process.stdin.close()
        try:
            if process.wait(DEADLINE):
                raise LabError("the attackers have ended")
        finally:
            process.kill()
            process.stdout.close()
