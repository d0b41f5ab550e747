"""``scripts/soak``: break a cluster at random under load, then judge it."""

from __future__ import annotations

import argparse
import pickle
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep

from lab.background import background
from lab.faults import catalogue
from lab.fleet import Fleet
from lab.people.load import Load
from lab.percentiles import percentile
from lab.rules.checker import RULES, Verdict, latencies
from lab.rules.evidence import Fault as Broken
from lab.servers.mariadb import MariaDb
from lab.servers.program import LabError, private
from lab.servers.redis import Redis
from lab.soak.trial import Trial

LASTS = (1.0, 14.0)
"""Seconds that a fault lasts: less than any deadline, and more than every one."""

CALM = (2.0, 6.0)
"""Seconds without a fault between two."""

RECOVERY = 60.0
"""Seconds after which each device must have had an ACK again: beyond, somebody hangs."""

AFTERWARDS = 5.0
"""Seconds after the end of a fault from which on the latencies count as those of calm times."""

RECORDS = "evidence.pickle"
"""All that a soak that failed was judged by: ``checker.check(pickle.load(…))`` judges it again."""

SHOWN = 20
"""Violations that are printed."""

ACTS = 0.5
"""Joins, blocks, recalls, moves and so on of a device in a second."""

OPTIONS = ("--login-failures", 1_000_000)
"""Of the nodes: clients in doubt about their password try more than one."""

SECOND_FAULT = 0.25
"""Probability of another fault at the same time."""


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
        self.trial_on = trial
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
            self.trial_on.faults.append(Broken(what, began, healed))
            took = self.trial_on.wait_for_progress(RECOVERY)
            right = self.trial_on.look()
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
        tables = [catalogue.NODE_FAULTS, catalogue.BACKEND_FAULTS, catalogue.CLIENT_FAULTS]
        first = self.chance.choices(tables, [3, 4, 1])[0]
        chosen = [self.chance.choice(first)]
        if self.chance.random() < SECOND_FAULT:
            others = [fault for table in tables if table is not first for fault in table]
            chosen.append(self.chance.choice(others))
        if {catalogue.line_to_mariadb_is_bad, catalogue.commits_are_in_doubt} <= {*chosen}:
            chosen.remove(catalogue.line_to_mariadb_is_bad)  # of two faults of a line the last would hold
        # First of all, since no node starts without its backends.
        chosen.sort(key=lambda fault: fault is not catalogue.all_nodes_are_restarted)
        self.faults.update(fault.__name__ for fault in chosen)
        return "; ".join(fault(self) for fault in chosen)

    def _say(self, what: str) -> None:
        minutes, seconds = divmod(int(monotonic() - self._began), 60)
        print(f"{minutes:3}:{seconds:02}  {what}", flush=True)

    def _counts(self) -> str:
        sent = [message for record in self.load.records for message in list(record.sent.values())]
        arrived = sum(len(link.arrivals) for record in self.load.records for link in record.connections)
        return f"sent {len(sent)}, acknowledged {sum(bool(one.acks) for one in sent)}, arrived {arrived}"


# -- The program


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, and print the verdict.

    Returns:
        The exit status: 0 if no rule was broken (see ``checker.RULES``), otherwise 1.
    """
    options = _options(arguments)
    print(f"seed {options.seed}, {options.nodes} nodes, {options.minutes:g} minutes", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="greenchat-soak-"))
    status = 1
    try:
        with trial_on(folder, options) as trial:
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
def trial_on(folder: Path, options: argparse.Namespace) -> Iterator[Trial]:
    with background() as aside, private(MariaDb) as mariadb, private(Redis) as redis:
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
        try:
            soak.run(seconds)
        except TimeoutError:
            _keep(trial, folder)
            raise
    trial.settle()
    trial.look()
    verdict = trial.verdict()
    if verdict.violations:
        _keep(trial, folder)
    _show(verdict)
    _report(soak)
    _tabulate(soak, verdict)
    print(verdict)
    return 1 if verdict.violations else 0


def _keep(trial: Trial, folder: Path) -> None:
    (folder / RECORDS).write_bytes(pickle.dumps(trial.evidence()))


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
