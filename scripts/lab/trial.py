"""A fleet under a load: let it come to rest, then judge it."""

from __future__ import annotations

from time import monotonic

from scripts.lab.checker import Evidence, Verdict, check, missing_of
from scripts.lab.load import Load, wait
from scripts.lab.node import Fleet
from scripts.lab.record import Row

ANSWERED = 45.0
"""Seconds in which all that is under way is acknowledged once nothing is broken."""

ARRIVED = 15.0
"""Seconds in which it then arrives, without anybody logging in again."""

STATES = 15.0
"""Seconds in which ``User.state`` is right (docs/protocol.md, "In a cluster")."""


class Trial:
    """Watch a load on a fleet.

    Args:
        fleet: where it runs.
        load: was started.
    """

    def __init__(self, fleet: Fleet, load: Load) -> None:
        self.fleet = fleet
        self.load = load

    def settle(self) -> None:
        """Write nothing new, and wait until everybody has everything, or should have."""
        self.load.pause()
        try:
            wait(lambda: not any(device.under_way for device in self.load.devices), "answers", ANSWERED)
            wait(lambda: not missing_of(self.evidence()), "arrivals", ARRIVED)
        except TimeoutError:
            pass

    def verdict(self) -> Verdict:
        """Settle, and judge."""
        self.settle()
        return check(self.evidence())

    def evidence(self) -> Evidence:
        """Read the log of the load's conversations."""
        ids = ", ".join(map(str, self.load.conversations))
        rows = self.fleet.rows(
            f"SELECT conversation, seq, sender, cid, body FROM Message WHERE conversation IN ({ids})"
            " ORDER BY conversation, seq"
        )
        heads = self.fleet.rows(f"SELECT id, last_seq FROM Conversation WHERE id IN ({ids})")
        return Evidence([Row(*row) for row in rows], dict(heads), self.load.records)

    def wait_for_progress(self, deadline: float = 10.0) -> float:
        """Wait until each device is online and had a message acknowledged that it sent from now on.

        Returns:
            The seconds that it took.

        Raises:
            TimeoutError: for one it never came; the text names it.
        """
        now = monotonic()
        waiting = set(self.load.devices)

        def everybody_has() -> bool:
            for device in list(waiting):
                last = list(device.record.sent.values())[-1:]
                if device.online and last and last[0].at > now and last[0].acks:
                    waiting.discard(device)
            return not waiting

        try:
            return wait(everybody_has, "an ACK", deadline)
        except TimeoutError as error:
            raise TimeoutError(f"{error} for {', '.join(str(device.record) for device in waiting)}") from None

    def ghosts(self) -> list[str]:
        """Return whose state in the database is not what it is: users of the load, and where they are."""
        online: dict[int, set[str]] = {record.user: set() for record in self.load.records}
        for device in self.load.devices:
            if device.online:
                online[device.record.user].add(device.node)
        ids = ", ".join(map(str, online))
        return [
            f"{user} is {state} at {node}, and in truth at {sorted(online[user])}"
            for user, state, node in self.fleet.rows(f"SELECT id, state, node FROM User WHERE id IN ({ids})")
            if (state == "online", node) not in {(True, one) for one in online[user] or ()} | {(False, None)}
            or (state == "online") != bool(online[user])
        ]

    def wait_for_states(self, deadline: float = STATES) -> float:
        """Wait until ``User.state`` and ``User.node`` are right for everybody, and return the seconds.

        Raises:
            TimeoutError: for somebody they never were; the text names them.
        """
        try:
            return wait(lambda: not self.ghosts(), "the states", deadline)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {'; '.join(self.ghosts()) or 'right only now'}") from None
