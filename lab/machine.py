"""Cores and open files of the machine, CPU time and memory of processes."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # idle and iowait in /proc/stat (proc(5)); steal counts as busy: somebody else had it
_GUESTS = 8  # from here on counted in user and nice already


class Cores(NamedTuple):
    """Which cores the server's side and the load run on."""

    servers: list[int]
    load: int


def cores() -> Cores:
    """Share out the cores that this process may use: the last is the load's, if there are two."""
    *servers, load = sorted(os.sched_getaffinity(0))
    return Cores(servers or [load], load)


@contextmanager
def on_cores(which: Iterable[int]) -> Iterator[None]:
    """Pin processes that are started in the block to some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, which)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Raise the limit of open files as far as it goes, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of processes: all threads, user and system, in steps of 10 ms."""
    return sum(cpu_ticks(_read(f"/proc/{pid}/stat")) for pid in pids) * _TICK


def cpu_ticks(stat: str) -> int:
    """Return the clock ticks that a process has used, from ``/proc/PID/stat``."""
    # The name in parentheses may hold anything; utime and stime are the 14th and 15th field.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def rss_mib(*pids: int) -> float:
    """Return the resident memory of processes."""
    return sum(status_mib(_read(f"/proc/{pid}/status"), "VmRSS") for pid in pids)


def peak_mib(pid: int) -> float:
    """Return the largest resident memory of a process so far, or since ``forget_peak``."""
    return status_mib(_read(f"/proc/{pid}/status"), "VmHWM")


def forget_peak(pid: int) -> None:
    """Let ``peak_mib`` count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def status_mib(status: str, name: str) -> float:
    """Return one of the sizes in ``/proc/PID/status``."""
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:")) / 1024


def busy_seconds() -> float:
    """Return the time that all cores together were not idle, or taken by the hypervisor."""
    return busy_ticks(_read("/proc/stat")) * _TICK


def busy_ticks(stat: str) -> int:
    """Return the clock ticks of all cores together that were not idle, from ``/proc/stat``."""
    ticks = [int(field) for field in stat.splitlines()[0].split()[1:]]
    return sum(ticks[:_GUESTS]) - sum(ticks[place] for place in _IDLE)


def describe() -> dict[str, object]:
    """Return the description of the machine for readers of the figures."""
    model = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    return {
        "cpu": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
