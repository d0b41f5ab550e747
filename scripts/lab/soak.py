"""``scripts/soak``: break a cluster at random under load, then judge it."""

from __future__ import annotations

import argparse
import pickle
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep

from scripts.lab.background import background
from scripts.lab.checker import RULES, Verdict, latencies, percentile
from scripts.lab.evidence import Fault as Broken
from scripts.lab.faults import FaultProxy
from scripts.lab.load import Load
from scripts.lab.mariadb import private_mariadb
from scripts.lab.node import Fleet, Node
from scripts.lab.program import LabError
from scripts.lab.redis import private_redis
from scripts.lab.trial import Trial

LASTS = (1.0, 14.0)
"""Seconds that a fault lasts: less than any deadline, and more than every one."""

CALM = (2.0, 6.0)
"""Seconds without a fault between two."""

RECOVERY = 60.0
"""Seconds after which each device must have had an ACK again: beyond, somebody hangs."""

AFTERWARDS = 5.0
"""Seconds after the end of a fault from which on the latencies count as those of calm times."""

RECORDS = "evidence.pickle"
"""All that a soak with violations was judged by: ``checker.check(pickle.load(…))`` judges it again."""

SHOWN = 20
"""Violations that are printed."""

ACTS = 0.5
"""Joins, blocks, recalls, moves and so on of a device in a second."""

OPTIONS = ("--login-failures", 1_000_000)
"""Of the nodes: clients in doubt about their password try more than one."""

OLD = (0.5, 4.0)
"""Seconds that a snapshot of Redis is old; a node's lease lasts 5."""

SECOND_FAULT = 0.25
"""How likely another fault is at the same time."""

Fault = Callable[["Soak"], str]
"""Breaks something and says what, as a sentence; ``Fleet.heal`` mends it."""


class Soak:
    """A fleet under a load, and the dice.

    Args:
        trial: the fleet and its load.
        chance: the dice.

    Attributes:
        faults: how often each has happened.
        calm: the times between them, as pairs on the monotonic clock.
    """

    def __init__(self, trial: Trial, chance: random.Random) -> None:
        self.fleet = trial.fleet
        self.load = trial.load
        self.chance = chance
        self.faults: Counter[str] = Counter()
        self.calm: list[tuple[float, float]] = []
        self._trial = trial
        self._began = monotonic()

    def run(self, seconds: float) -> None:
        """Break and mend for so long.

        Raises:
            TimeoutError: somebody hangs; the text names them.
            LabError: a node died by itself.
        """
        healed = self._began - AFTERWARDS
        while monotonic() < self._began + seconds:
            sleep(self.chance.uniform(*CALM))
            self._note_calm(healed + AFTERWARDS)
            began = monotonic()
            self.load.weather.calm_since = float("inf")
            what = self._break()
            self._say(what)
            sleep(self.chance.uniform(*LASTS))
            self.fleet.heal()
            healed = self.load.weather.calm_since = monotonic()
            self._trial.faults.append(Broken(what, began, healed))
            took = self._trial.wait_for_progress(RECOVERY)
            right = self._trial.look()
            self._say(f"  mended; back after {took:.1f} s, right after {right:.1f}. {self._counts()}")

    def rest(self, seconds: float) -> None:
        """Break nothing for so long."""
        sleep(seconds)
        self._note_calm(self._began)

    def latencies(self) -> list[float]:
        """Return the seconds that messages took from node to node in calm times, sorted."""
        return latencies(self.load.records, self.calm)

    def _note_calm(self, since: float) -> None:
        if since < monotonic():
            self.calm.append((since, monotonic()))

    def _break(self) -> str:
        tables = [NODE_FAULTS, BACKEND_FAULTS, CLIENT_FAULTS]
        first = self.chance.choices(tables, [3, 4, 1])[0]
        chosen = [self.chance.choice(first)]
        if self.chance.random() < SECOND_FAULT:
            others = [fault for table in tables if table is not first for fault in table]
            chosen.append(self.chance.choice(others))
        if {line_to_mariadb_is_bad, commits_are_in_doubt} <= {*chosen}:
            chosen.remove(line_to_mariadb_is_bad)  # of two faults of a line the last would hold
        chosen.sort(key=lambda fault: fault is not all_nodes_are_restarted)  # no node starts without backends
        self.faults.update(fault.__name__ for fault in chosen)
        return "; ".join(fault(self) for fault in chosen)

    def _say(self, what: str) -> None:
        minutes, seconds = divmod(int(monotonic() - self._began), 60)
        print(f"{minutes:3}:{seconds:02}  {what}", flush=True)

    def _counts(self) -> str:
        sent = [message for record in self.load.records for message in list(record.sent.values())]
        arrived = sum(len(link.arrivals) for record in self.load.records for link in record.connections)
        return f"sent {len(sent)}, acknowledged {sum(bool(one.acks) for one in sent)}, arrived {arrived}"


# -- The faults


def node_is_killed(soak: Soak) -> str:
    node = _node(soak)
    node.kill()
    return f"{node} is killed"


def node_is_interrupted(soak: Soak) -> str:
    node = _node(soak)
    node.interrupt()
    return f"{node} is told to end"


def node_is_stopped(soak: Soak) -> str:
    node = _node(soak)
    node.freeze()
    return f"{node} is stopped"


def all_nodes_are_restarted(soak: Soak) -> str:
    for node in soak.fleet.nodes:
        node.interrupt()
        node.start()
    return "all nodes were restarted, one after another"


def redis_is_killed(soak: Soak) -> str:
    assert soak.fleet.redis
    soak.fleet.redis.kill()
    return "Redis is killed"


def redis_is_stopped(soak: Soak) -> str:
    assert soak.fleet.redis
    soak.fleet.redis.signal(signal.SIGSTOP)
    return "Redis is stopped"


def redis_is_flushed(soak: Soak) -> str:
    assert soak.fleet.redis
    with closing(soak.fleet.redis.connect()) as client:
        client.flushall()
    return "Redis has forgotten everything"


def redis_goes_back(soak: Soak) -> str:
    """Have it begin anew with what it had some seconds ago, as after a crash from a snapshot."""
    assert soak.fleet.redis
    seconds = soak.chance.uniform(*OLD)
    with closing(soak.fleet.redis.connect(decode_responses=False)) as client:
        keys = list(client.scan_iter())
        snapshot = [(key, client.pttl(key), client.dump(key)) for key in keys]
        sleep(seconds)
        client.flushall()
        for key, milliseconds, value in snapshot:
            if value is not None:
                client.restore(key, max(0, milliseconds), value)
        for kind in ("pubsub", "normal"):
            client.client_kill_filter(_type=kind, skipme=True)
    return f"Redis comes back as it was {seconds:.1f} s ago"


def subscribers_are_killed(soak: Soak) -> str:
    assert soak.fleet.redis
    killed = 0
    with closing(soak.fleet.redis.connect()) as client:
        for _ in range(soak.chance.randint(5, 50)):
            killed += client.client_kill_filter(_type="pubsub")
            sleep(0.1)
    return f"subscribers were killed {killed} times"


def mariadb_is_killed(soak: Soak) -> str:
    soak.fleet.mariadb.kill()
    return "MariaDB is killed"


def mariadb_is_stopped(soak: Soak) -> str:
    soak.fleet.mariadb.signal(signal.SIGSTOP)
    return "MariaDB is stopped"


def line_to_redis_is_bad(soak: Soak) -> str:
    return _bad_line(soak, "Redis", soak.fleet.to_redis)


def line_to_mariadb_is_bad(soak: Soak) -> str:
    return _bad_line(soak, "MariaDB", soak.fleet.to_mariadb)


def commits_are_in_doubt(soak: Soak) -> str:
    lines = soak.fleet.to_mariadb
    some = soak.chance.sample(range(len(lines)), soak.chance.randint(1, len(lines)))
    for number in some:
        lines[number].doubt()
    return (
        f"the answers to COMMIT are lost at {', '.join(str(soak.fleet.nodes[one]) for one in sorted(some))}"
    )


def clients_vanish(soak: Soak) -> str:
    devices = soak.load.devices
    gone = soak.chance.sample(devices, soak.chance.randint(1, len(devices)))
    soak.load.vanish(gone)
    return f"{len(gone)} clients lose their connection"


NODE_FAULTS: list[Fault] = [
    node_is_killed,
    node_is_interrupted,
    node_is_stopped,
    all_nodes_are_restarted,
]
BACKEND_FAULTS: list[Fault] = [
    redis_is_killed,
    redis_is_stopped,
    redis_is_flushed,
    redis_goes_back,
    subscribers_are_killed,
    mariadb_is_killed,
    mariadb_is_stopped,
    line_to_redis_is_bad,
    line_to_redis_is_bad,
    line_to_mariadb_is_bad,
    line_to_mariadb_is_bad,
    commits_are_in_doubt,
    commits_are_in_doubt,
    commits_are_in_doubt,
]
CLIENT_FAULTS: list[Fault] = [clients_vanish]

LINE_FAULTS: list[tuple[str, Callable[[FaultProxy], None]]] = [
    ("slow", lambda line: line.delay(0.2)),
    ("narrow", lambda line: line.throttle(20_000)),
    ("cut", FaultProxy.cut),
    ("silent", FaultProxy.stall),
    ("half open", FaultProxy.swallow),
]
"""What any line may be; one to the database besides in doubt."""


def _node(soak: Soak) -> Node:
    return soak.chance.choice([node for node in soak.fleet.nodes if node.running])


def _bad_line(soak: Soak, to: str, lines: Sequence[FaultProxy]) -> str:
    number = soak.chance.randrange(len(lines))
    how, fault = soak.chance.choice(LINE_FAULTS)
    fault(lines[number])
    return f"the line from {soak.fleet.nodes[number]} to {to} is {how}"


# -- The program


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, and print what came of it.

    Returns:
        The exit status: 0 if no rule was broken (see ``checker.RULES``), otherwise 1.
    """
    options = _options(arguments)
    print(f"seed {options.seed}, {options.nodes} nodes, {options.minutes:g} minutes", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="greenchat-soak-"))
    status = 1
    try:
        with _trial(folder, options) as trial:
            status = _soak(trial, options, folder)
    except (LabError, TimeoutError) as error:
        print(f"failed: {error}")
    except KeyboardInterrupt:
        print("stopped before the end: nothing was judged")
    if status == 0:
        shutil.rmtree(folder)
    else:
        print(f"logs and records are in {folder}; --seed {options.seed} rolls the same dice")
    return status


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description="Break a cluster at random under load; check that nothing is lost, doubled, reordered or"
        " leaked, and nobody stuck.",
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (default: 2)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10_000), help="of the dice, to repeat the same faults"
    )
    parser.add_argument("--nodes", type=int, default=3, choices=range(2, 10), help="how many (default: 3)")
    parser.add_argument(
        "--calm", action="store_true", help="break nothing, and measure how long messages take"
    )
    return parser.parse_args(arguments)


@contextmanager
def _trial(folder: Path, options: argparse.Namespace) -> Iterator[Trial]:
    with background() as aside, private_mariadb() as mariadb, private_redis() as redis:
        fleet = Fleet(folder, aside, mariadb, redis, options.nodes, OPTIONS, direct=options.calm)
        with closing(fleet):
            fleet.start()
            load = Load(aside, fleet.nodes, "soak", seed=options.seed, acts=ACTS)
            with closing(load):
                load.start()
                yield Trial(fleet, load)


def _soak(trial: Trial, options: argparse.Namespace, folder: Path) -> int:
    soak = Soak(trial, random.Random(options.seed))
    seconds = options.minutes * 60
    if options.calm:
        soak.rest(seconds)
    else:
        soak.run(seconds)
    trial.settle()
    trial.look()
    verdict = trial.verdict()
    if verdict.violations:
        (folder / RECORDS).write_bytes(pickle.dumps(trial.evidence()))
    _show(verdict)
    _report(soak)
    _tabulate(soak, verdict)
    print(verdict)
    return 1 if verdict.violations else 0


def _show(verdict: Verdict) -> None:
    """Print some violations of each kind."""
    for kind in verdict.kinds:
        found = [violation for violation in verdict.violations if violation.kind == kind]
        for violation in found[:SHOWN]:
            print(f"{violation.kind}: {violation.text}")
        if len(found) > SHOWN:
            print(f"… and {len(found) - SHOWN} more {kind}")


def _tabulate(soak: Soak, verdict: Verdict) -> None:
    """Print how much there was of everything, and how often each rule was broken."""
    counts: Counter[str] = Counter()
    for record in soak.load.records:
        counts.update(act.kind for act in record.acts)
        counts.update(message.kind for message in record.sent.values())
        counts["login"] += sum(attempt.errno == 0 for attempt in record.attempts)
        counts["history"] += sum(len(link.pasts) for link in record.connections)
        counts["presence"] += sum(len(link.told) for link in record.connections)
    doubted = sum(line.doubted for line in soak.fleet.to_mariadb)
    done = {"fault": soak.faults.total(), "COMMIT in doubt": doubted, **dict(sorted(counts.items()))}
    print("\n".join(f"  {count:>8}  {name}" for name, count in done.items()))
    print("violations of each rule:")
    print("\n".join(f"  {verdict.by_rule[rule.__name__]:>8}  {rule.__name__}" for rule in RULES))


def _report(soak: Soak) -> None:
    each = ", ".join(f"{name} {count}" for name, count in sorted(soak.faults.items()))
    print(f"{soak.faults.total()} faults{': ' * bool(each)}{each}")
    seconds = soak.latencies()
    if seconds:
        parts = [f"p{percent} {percentile(seconds, percent) * 1000:.1f} ms" for percent in (50, 99)]
        print(f"from node to node in calm times: {len(seconds)} messages, {', '.join(parts)}")


if __name__ == "__main__":
    sys.exit(main())
