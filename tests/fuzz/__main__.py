"""Fuzz all targets, one after the other: what ``scripts/fuzz`` runs."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

from greenchat.protocol.messages import REQUESTS
from greenchat.protocol.proxy import LINE, SIGNATURE
from lab import ROOT

CORPUS = Path(__file__).parent / "corpus"

WORK = ROOT / ".fuzz"
"""Inputs that reached something new, kept for the next time; findings; what libFuzzer said."""

SHARES = {
    "frames": 1,
    "proxy": 1,
    "bus": 1,
    "events": 1,
    "http": 2,
    "websocket": 2,
    "session": 3,
    "conversations": 3,
}
"""Each target, and its share of the time: those with a database behind them are slow."""

LIMITS = ("-max_len=4200", "-timeout=20", "-report_slow_units=10", "-rss_limit_mb=1024")
"""Of an input its bytes (more than a PROXY header may have) and seconds; of the process its memory."""

FIELDS = {"msgid"}.union(*(kind.__struct_fields__ for kind in REQUESTS.values()))

WORDS = [
    *(f'"{name}":'.encode() for name in sorted(FIELDS)),
    *(b'\na{"msgid":%d,' % msgid for msgid in sorted(REQUESTS)),
    *(b"\n" + line for line in (b"!rw", b"!w", b"!", b"~", b"/a", b"/c", b"A{", b"b{", b"c{", b"n{", b"p{")),
    *(b"<token>", b'"phone"', b'"pw"', b"null", b"true", b"NaN", b"1e999"),
    *(b"\\ud800", b"\\u0000", b"%d" % 2**31, b"%d" % 2**63),
    *(LINE, SIGNATURE, b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\x21\x11", b"\x21\x21"),
    *(
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /echo HTTP/1.1\r\n",
        b"Content-Length: 3\r\n",
        b"Connection: ",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"Range: bytes=1-",
        b"X-Forwarded-For: ",
    ),
    *(b'"src":', b'"epoch":', b'"n":', b'"seen":[', b'"here":[', b'"left":[', b'"leaving":', b'"sizes":['),
]
"""What the mutations are made of besides bytes."""


class Outcome(NamedTuple):
    """What came of fuzzing a target."""

    executions: int
    findings: list[Path]
    log: str

    @property
    def failed(self) -> bool:
        """Whether it found something, or did not run at all."""
        return bool(self.findings) or not self.executions


def fuzz(target: str, seconds: int) -> Outcome:
    """Fuzz a target for so many seconds, or until something is found."""
    kept, findings, words = WORK / "corpus" / target, WORK / "findings" / target, WORK / "words"
    for folder in (kept, findings):
        folder.mkdir(parents=True, exist_ok=True)
    if target == "conversations" and not any(kept.iterdir()):
        _choose(kept)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
    before = set(findings.iterdir())
    options = [*LIMITS, f"-max_total_time={seconds}", "-print_final_stats=1", f"-dict={words}"]
    folders = [str(folder) for folder in (kept, CORPUS / target) if folder.is_dir()]
    command = [sys.executable, "-P", "-m", "tests.fuzz.explore", target]
    run = subprocess.run(
        [*command, *options, f"-artifact_prefix={findings}/", *folders],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    (WORK / f"{target}.log").write_text(run.stdout)
    done = re.findall(r"^stat::number_of_executed_units: (\d+)", run.stdout, re.M)
    return Outcome(int(done[-1]) if done else 0, sorted(set(findings.iterdir()) - before), run.stdout)


def _choose(folder: Path) -> None:
    """Give Hypothesis choices enough for whole conversations; by itself the fuzzer stays with few bytes."""
    chance = Random(0)
    for number in range(100):
        (folder / f"chance-{number}").write_bytes(chance.randbytes(1_000))


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _tale(log: str) -> str:
    """Return what is worth reading of a failure: the traceback, else the last lines."""
    return log[log.find("=== Uncaught Python exception") :] if "=== Uncaught" in log else log[-2_000:]


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, print a line for each target as it is done, and return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz what takes bytes from outside.")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together (10)")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(SHARES)}; all by default"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(SHARES):
        parser.error(f"no target: {', '.join(sorted(unknown))}")
    targets = options.targets or list(SHARES)
    share = options.minutes * 60 / sum(SHARES[target] for target in targets)
    outcomes = []
    print(f"{'target':15}{'executions':>12}{'findings':>10}", flush=True)
    for target in targets:
        outcomes.append(fuzz(target, max(1, round(share * SHARES[target]))))
        _print_line(target, outcomes[-1:])
        if outcomes[-1].failed:
            print(_tale(outcomes[-1].log), *outcomes[-1].findings, sep="\n", flush=True)
    _print_line("all", outcomes)
    return int(any(outcome.failed for outcome in outcomes))


def _print_line(name: str, outcomes: list[Outcome]) -> None:
    executions = sum(outcome.executions for outcome in outcomes)
    findings = sum(len(outcome.findings) for outcome in outcomes)
    print(f"{name:15}{executions:12,}{findings:10,}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
