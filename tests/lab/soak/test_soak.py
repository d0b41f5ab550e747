"""The soak's own end of things: what it prints and how it exits, on a trial that is made up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.rules.checker import Verdict, check
from lab.rules.evidence import LOST, Evidence, Violation
from lab.servers.program import LabError
from lab.soak import __main__ as soak

End = Callable[[], Verdict]


def all_is_well() -> Verdict:
    return check(Evidence([], {}, []))


def much_is_lost() -> Verdict:
    return Verdict([Violation(LOST, f"message {number}") for number in range(30)], 30, 30, 0, 0, 0, 0)


def a_node_died() -> Verdict:
    raise LabError("n2 died")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[End], tuple[int, str]]:
    """Return what makes a soak of no length end in some way, and returns status and output."""

    def run(end: End) -> tuple[int, str]:
        @contextmanager
        def trial(folder: Path, options: object) -> Iterator[SimpleNamespace]:
            (folder / "n1").mkdir()
            load = SimpleNamespace(records=[])
            yield SimpleNamespace(
                fleet=SimpleNamespace(to_mariadb=[]),
                load=load,
                verdict=end,
                settle=lambda: None,
                look=lambda: 0.0,
                evidence=lambda: Evidence([], {}, []),
            )

        monkeypatch.setattr(soak, "trial_on", trial)
        status = soak.main(["--minutes", "0", "--seed", "7"])
        return status, capsys.readouterr().out

    return run


def test_nothing_lost_is_success_and_leaves_no_folder(run: Callable[[End], tuple[int, str]]) -> None:
    status, out = run(all_is_well)
    assert status == 0
    assert out.startswith("seed 7, 3 nodes, 0 minutes\n")
    assert out.endswith("0 lost, 0 doubled, 0 reordered, 0 leaked, 0 stuck, 0 wrong\n")
    assert "the logs" not in out


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            much_is_lost,
            ["lost: message 0\n", "lost: message 19\n", "… and 10 more lost\n", " 30 lost, 0 doubled"],
        ),
        (a_node_died, ["failed: n2 died\n"]),
    ],
)
def test_anything_else_is_failure_and_tells_where_the_logs_are(
    run: Callable[[End], tuple[int, str]], end: End, told: list[str]
) -> None:
    status, out = run(end)
    assert status == 1
    assert [text for text in told if text not in out] == []
    assert "message 20" not in out
    last = out.splitlines()[-1]
    assert last.endswith("--seed 7 rolls the same dice")
    folder = Path(last.removeprefix("logs and records are in ").split(";")[0])
    assert (folder / "n1").is_dir()
    shutil.rmtree(folder)
