"""What scripts/fuzz counts and says; the fuzzer itself is not needed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import __main__ as campaign
from tests.fuzz.__main__ import SHARES, Outcome, main
from tests.fuzz.targets import TARGETS

CLEAN = Outcome(1_000, [], "")
FOUND = Outcome(
    7, [Path("crash-1")], "INFO: much\n === Uncaught Python exception: ===\nAssertionError: so it is"
)
BROKEN = Outcome(0, [], "ModuleNotFoundError: no such fuzzer")


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcome]:
    """What fuzzing a target comes to: nothing is found, unless a test says otherwise."""
    found = dict.fromkeys(SHARES, CLEAN)
    monkeypatch.setattr(campaign, "fuzz", lambda target, seconds: found[target])
    return found


def test_every_target_has_its_share_of_the_time() -> None:
    assert set(SHARES) == {*TARGETS, "conversations"}


def test_executions_and_findings_are_counted(
    outcomes: dict[str, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["target", "executions", "findings"]
    assert lines[1:-1] == [[target, "1,000", "0"] for target in SHARES]
    assert lines[-1] == ["all", f"{len(SHARES)},000", "0"]


def test_a_finding_is_shown_the_others_go_on_and_the_end_is_1(
    outcomes: dict[str, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes["proxy"] = FOUND
    assert main(["proxy", "bus"]) == 1
    told = capsys.readouterr().out
    assert "AssertionError: so it is\ncrash-1\n" in told
    assert "much" not in told
    assert told.splitlines()[-1].split() == ["all", "1,007", "1"]


def test_a_fuzzer_that_did_not_run_is_no_success(
    outcomes: dict[str, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes["frames"] = BROKEN
    assert main([]) == 1
    assert "no such fuzzer" in capsys.readouterr().out


def test_a_target_that_there_is_not_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["frame"])
    assert "no target: frame" in capsys.readouterr().err
