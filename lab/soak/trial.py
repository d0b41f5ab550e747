"""A fleet under a load: let it come to rest, then judge it."""

from __future__ import annotations

from time import monotonic, sleep

from lab.fleet import Fleet
from lab.people.load import Load, wait
from lab.record import Row
from lab.rules import presence
from lab.rules.checker import Verdict, check
from lab.rules.evidence import CONVERGED, Evidence, Fault, Look
from lab.rules.log import missing_of

ANSWERED = 45.0
"""Seconds in which all that is under way is acknowledged once nothing is broken."""

ARRIVED = 15.0
"""Seconds in which it then arrives, without anybody logging in again."""

IDLE = 30.0
"""Seconds of calm in which everybody has come or gone, and all that was asked is answered."""

CLEAR = 3 * CONVERGED
"""Seconds of calm after which an error counts as lasting, even if somebody still comes or goes."""

PAUSE = 0.1
"""Seconds between two looks."""

LATEST = 10
"""Messages of a device among which one is looked for that was acknowledged."""

STATES = 15.0
"""Seconds in which ``User.state`` is right (docs/protocol.md, "In a cluster")."""


class Trial:
    """Watch a load on a fleet.

    Args:
        fleet: where it runs.
        load: was started.

    Attributes:
        fleet, load: as given.
        faults: the times in which something was broken.
        looks: the times of all looks, with their errors.
    """

    def __init__(self, fleet: Fleet, load: Load) -> None:
        self.fleet = fleet
        self.load = load
        self.faults: list[Fault] = []
        self.looks: list[Look] = []

    def settle(self) -> None:
        """Write nothing new, and wait until everybody has everything, or should have."""
        self.load.weather.still = True
        try:
            wait(lambda: all(device.idle for device in self.load.devices), "all are there", ANSWERED)
        except TimeoutError:
            pass
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
            "SELECT conversation, seq, sender, cid, body, kind FROM Message"
            f" WHERE conversation IN ({ids}) ORDER BY conversation, seq"
        )
        heads = self.fleet.rows(f"SELECT id, last_seq FROM Conversation WHERE id IN ({ids})")
        return Evidence(
            [Row(*row) for row in rows],
            dict(heads),
            self.load.records,
            self.faults,
            self.load.lags,
            self.looks,
        )

    def look(self) -> float:
        """Hold everybody where they are, until all is right or something has been wrong for too long.

        Returns:
            The seconds of calm that it took.
        """
        weather, devices, began = self.load.weather, self.load.devices, monotonic()
        weather.held = True
        try:
            wait(lambda: all(device.idle for device in devices), "all are at rest", IDLE)
        except TimeoutError:
            pass
        calm = monotonic()
        pending = [f"{one.record} is in between: {one.describe()}" for one in devices if not one.idle]
        look = self._glance(pending)
        while not self._is_clear(look) and monotonic() < calm + CLEAR:
            sleep(PAUSE)
            look = self._glance(pending)
        self.looks.append(look)
        weather.held = False
        return monotonic() - (calm if not pending else began)

    def _glance(self, pending: list[str]) -> Look:
        wrong = [*self.ghosts(), *self.misplaced()]
        return Look(monotonic(), wrong, pending)

    def _is_clear(self, look: Look) -> bool:
        """Return True if all is right, or something has been wrong for so long that a rule is broken."""
        evidence = Evidence((), {}, self.load.records, self.faults, looks=[look])
        wrong = look.wrong or any(True for _ in presence.wrongly_told(evidence, look.at))
        rules = presence.presence_is_right, presence.tables_are_right
        return not wrong or any(True for rule in rules for _ in rule(evidence))

    def misplaced(self) -> list[tuple[int, str]]:
        """Return the devices that are not where the table Device has them."""
        where = {
            (device.record.user, device.record.device): device.node if device.online else None
            for device in self.load.devices
        }
        ids = ", ".join(str(user) for user, _ in where)
        rows = self.fleet.rows(f"SELECT userid, device, node FROM Device WHERE userid IN ({ids})")
        return [
            (user, f"{user}/{name} is at {node} in the database, and in truth at {where[user, name]}")
            for user, name, node in rows
            if (user, name) in where and where[user, name] != node
        ]

    def wait_for_progress(self, deadline: float = 10.0) -> float:
        """Wait until each device is online and had a message acknowledged that it sent from now on, or rests.

        Returns:
            The seconds that it took.

        Raises:
            TimeoutError: for one it never came; the text names it.
        """
        now = monotonic()
        waiting = set(self.load.devices)

        def everybody_has() -> bool:
            for device in list(waiting):
                last = list(device.record.sent.values())[-LATEST:]
                if device.resting or (device.online and any(one.at > now and one.acks for one in last)):
                    waiting.discard(device)
            return not waiting

        try:
            return wait(everybody_has, "an ACK", deadline)
        except TimeoutError as error:
            hanging = "; ".join(f"{device.record} ({device.describe()})" for device in waiting)
            raise TimeoutError(f"{error} for {hanging}") from None

    def ghosts(self) -> list[tuple[int, str]]:
        """Return the users of the load with a wrong state in the database, and where they are."""
        online: dict[int, set[str]] = {record.user: set() for record in self.load.records}
        for device in self.load.devices:
            if device.online:
                online[device.record.user].add(device.node)
        ids = ", ".join(map(str, online))
        return [
            (user, f"{user} is {state} at {node}, and in truth at {sorted(online[user])}")
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
            ghosts = "; ".join(text for _, text in self.ghosts())
            raise TimeoutError(f"{error}: {ghosts or 'right only now'}") from None
