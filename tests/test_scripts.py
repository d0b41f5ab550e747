"""The two commands of the README, with a stand-in for Python: quick, and no network."""

from __future__ import annotations

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab import ROOT

PYTHON = """#!/bin/bash
# Stands in for every Python: logs what it is asked, and makes a .venv of itself.
case "$*" in
    "-ISc "*) echo "(3, 11)" ;;
    "-c "*) ;;
    "-m venv "*)
        echo venv >>"$LOG"
        mkdir -p "$3/bin"
        cp "${BASH_SOURCE[0]}" "$3/bin/python"
        chmod +x "$3/bin/python" ;;
    "-m pip "*)
        echo "pip ${*: -1}" >>"$LOG"
        [[ ! -e $LOG.fail ]] ;;
    *) echo "$*" ;;
esac
"""


class Checkout:
    """A copy of the scripts, and an environment that has little more than the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.log = folder / "log"
        self.fail = folder / "log.fail"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for lock in ROOT.glob("*.lock"):
            shutil.copy(lock, self.root)
        stand_in = folder / "bin" / "python3.11"
        stand_in.parent.mkdir()
        stand_in.write_text(PYTHON)
        stand_in.chmod(0o755)
        self.env = {"PATH": f"{stand_in.parent}:/usr/bin:/bin", "LOG": str(self.log)}
        self.env["GREENCHAT_CONTROL_SOCKET"] = ""  # the caller chooses: none

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / "scripts" / "run", *arguments],
            cwd="/",
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=30)
        return process.returncode, out.strip(), err.strip()

    def done(self) -> list[str]:
        """Return what was set up since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


SET_UP = ["venv", "pip {root}/requirements.lock"]


def set_up(checkout: Checkout) -> list[str]:
    return [line.format(root=checkout.root) for line in SET_UP]


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        ([], ""),
        (["7000"], "7000"),
        (["7000", "--log-level", "debug"], "7000 --log-level debug"),
        (["--host", "::"], "--host ::"),
        (["--log-level", "--webs"], "--log-level --webs"),
    ],
)
def test_run_passes_its_arguments_to_the_server_and_adds_a_web_port(
    checkout: Checkout, arguments: list[str], server: str
) -> None:
    status, out, _ = checkout.run(*arguments)
    before, web, port = out.partition(" --web 127.0.0.1:")
    assert (status, before, web) == (0, f"-P -m greenchat.server {server}".strip(), " --web 127.0.0.1:")
    assert int(port) >= 8080


@pytest.mark.parametrize(
    "arguments",
    [
        ["0", "--config", "a b.toml"],
        ["--config=a"],
        ["--web", "127.0.0.1:1"],
        ["--web=127.0.0.1:1", "7000"],
        ["--web="],
        ["--help"],
        ["--version"],
    ],
)
def test_run_adds_no_web_port_where_the_caller_chooses(checkout: Checkout, arguments: list[str]) -> None:
    assert checkout.run(*arguments)[1] == "-P -m greenchat.server " + " ".join(arguments)


@pytest.mark.parametrize("variable", ["GREENCHAT_WEB", "GREENCHAT_CONFIG"])
def test_run_adds_no_web_port_where_the_environment_chooses(checkout: Checkout, variable: str) -> None:
    checkout.env[variable] = ""
    assert checkout.run("7000")[1] == "-P -m greenchat.server 7000"


def test_run_makes_a_socket_for_the_operator_unless_the_caller_chooses(checkout: Checkout) -> None:
    del checkout.env["GREENCHAT_CONTROL_SOCKET"]
    assert checkout.run("7000")[1].endswith(" --control-socket greenchat-%p.sock")
    for chosen in (["--control-socket", "x"], ["--control-socket=x"], ["--config", "x"], ["--help"]):
        assert "%p" not in checkout.run("7000", *chosen)[1]


def test_a_web_port_that_is_taken_is_skipped(checkout: Checkout) -> None:
    def port() -> int:
        return int(checkout.run()[1].rpartition(":")[2])

    first = port()
    with socket.create_server(("127.0.0.1", first)):
        assert port() > first


def test_the_first_run_sets_up_and_says_so_in_one_line_of_stderr(checkout: Checkout) -> None:
    _, _, err = checkout.run()
    assert checkout.done() == set_up(checkout)
    assert len(err.splitlines()) == 1
    assert "setting up .venv" in err


def test_the_second_run_sets_up_nothing_and_says_nothing(checkout: Checkout) -> None:
    checkout.run()
    checkout.done()
    _, _, err = checkout.run()
    assert (checkout.done(), err) == ([], "")


def test_a_setup_that_failed_starts_no_server_and_is_done_again_from_the_beginning(
    checkout: Checkout,
) -> None:
    checkout.fail.touch()
    status, out, _ = checkout.run()
    assert status != 0
    assert out == ""
    checkout.done()
    checkout.fail.unlink()
    assert checkout.run()[0] == 0
    assert checkout.done() == set_up(checkout)


def test_a_moved_checkout_is_set_up_anew(checkout: Checkout) -> None:
    checkout.run()
    checkout.done()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved to here"))
    assert checkout.run()[0] == 0
    assert checkout.done() == set_up(checkout)


def test_a_new_lock_is_installed_into_what_is_there(checkout: Checkout) -> None:
    checkout.run()
    checkout.done()
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write("another==1.0\n")
    assert checkout.run()[0] == 0
    assert checkout.done() == set_up(checkout)[1:]


def test_after_an_update_that_was_cut_off_all_is_set_up_anew(checkout: Checkout) -> None:
    checkout.run()
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write("another==1.0\n")
    checkout.fail.touch()
    checkout.run()
    checkout.fail.unlink()
    checkout.done()
    assert checkout.run()[0] == 0
    assert checkout.done() == set_up(checkout)


def test_a_venv_whose_python_is_gone_is_set_up_anew(checkout: Checkout) -> None:
    checkout.run()
    checkout.done()
    (checkout.root / ".venv" / "bin" / "python").unlink()
    assert checkout.run()[0] == 0
    assert checkout.done() == set_up(checkout)


def test_starts_at_the_same_time_set_up_once(checkout: Checkout) -> None:
    starts = [checkout.start(str(port)) for port in range(7001, 7005)]
    told = [start.communicate(timeout=30)[0].strip() for start in starts]
    assert [line.partition(" --web")[0] for line in told] == [
        f"-P -m greenchat.server {port}" for port in range(7001, 7005)
    ]
    assert checkout.done() == set_up(checkout)


def test_without_a_python_of_its_age_it_says_what_it_needs(checkout: Checkout) -> None:
    for name in ("python", "python3", *(f"python3.{minor}" for minor in range(11, 15))):
        old = Path(checkout.env["PATH"].split(":")[0]) / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
    status, out, err = checkout.run()
    assert status != 0
    assert out == ""
    assert "needs Python 3.11" in err


@pytest.mark.parametrize(
    "name",
    [
        "scripts/admin",
        "scripts/run",
        "scripts/test",
        "scripts/check",
        "scripts/fuzz",
        "scripts/cluster",
        "scripts/soak",
        "scripts/bench",
        ".ci/run",
    ],
)
def test_commands_are_executable(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize(
    ("wanted", "lock"),
    [
        ("REQUIRES", "requirements.lock"),
        ("CLUSTER_REQUIRES", "requirements-cluster.lock"),
        ("TEST_REQUIRES", "requirements-test.lock"),
    ],
)
def test_the_lock_pins_a_version_of_all_that_setup_asks_for(wanted: str, lock: str) -> None:
    pinned = dict(line.split(" ")[0].split("==") for line in _requirements(lock))
    for line in _list_in_setup(wanted):
        name, least = line.split(">=")
        assert _numbers(pinned[name]) >= _numbers(least), line


def test_the_locks_name_no_index_and_nothing_twice() -> None:
    lines = [line for lock in ROOT.glob("requirements*.lock") for line in _requirements(lock.name)]
    assert [line for line in lines if not re.match(r"[\w-][\w.-]*==[\w.]+( ;|$)", line)] == []
    names = [line.split("==")[0].lower() for line in lines]
    assert len(names) == len(set(names))


def test_the_package_ships_its_modules_and_its_types_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    build = ["setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True, timeout=60)
    shipped = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "greenchat").rglob("*.py")}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "greenchat" / "web").iterdir() if path.is_file()}
    assert shipped == modules | files | {"greenchat/py.typed"}


def _requirements(lock: str) -> list[str]:
    return [line for line in (ROOT / lock).read_text().splitlines() if line and not line.startswith("#")]


def _list_in_setup(name: str) -> list[str]:
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            found: list[str] = ast.literal_eval(node.value)
            return found
    raise AssertionError(f"setup.py has no {name}")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
