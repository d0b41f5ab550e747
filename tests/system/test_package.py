"""The package as users install it: with its programs, or the library with one other package."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

import pexpect
import pytest

from lab import ROOT
from lab.servers.program import free_port
from tests.system.server import DEADLINE, Server

SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")

PATIENCE = 600.0
"""Seconds that an installation may take."""


def clean() -> dict[str, str]:
    """Return our environment without what leads Python to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GREENCHAT"))}


def run(*command: object, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        env=clean(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def done(*command: object, timeout: float = PATIENCE) -> str:
    """Run a command that succeeds; return what it printed."""
    ran = run(*command, timeout=timeout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def copied(folder: Path) -> Path:
    """Copy what a build needs, so that it leaves nothing in the checkout."""
    copy = folder / "sources"
    copytree(ROOT / "greenchat", copy / "greenchat")
    for name in SOURCES:
        (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


# -- The library alone


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has the library and simplejson, and nothing else."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "env")
    python = folder / "env/bin/python"
    site = Path(done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(site)]
    subprocess.run(build, cwd=copied(folder), check=True, capture_output=True, timeout=PATIENCE)
    spec = find_spec("simplejson")
    assert spec
    assert spec.origin
    copytree(Path(spec.origin).parent, site / "simplejson")
    return python


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.close()


THREADS = """
import sys
from greenchat.client import Client
with Client("127.0.0.1", int(sys.argv[1])) as client:
    me = client.register("threads", "secret")
    client.login("threads", "secret")
    print(client.chat(me, "hi").seq)
"""

ASYNCIO = """
import asyncio, sys
from greenchat.client.aio import Client
async def main():
    async with Client("127.0.0.1", int(sys.argv[1])) as client:
        me = await client.register("asyncio", "secret")
        await client.login("asyncio", "secret")
        print((await client.chat(me, "hi")).seq)
asyncio.run(main())
"""


@pytest.mark.parametrize("program", [THREADS, ASYNCIO])
def test_a_bot_needs_simplejson_and_nothing_else(bare: Path, server: Server, program: str) -> None:
    assert done(bare, "-c", program, server.port) == "1\n"


@pytest.mark.parametrize(
    ("module", "package"), [("greenchat.server", "gevent"), ("greenchat.client", "prompt_toolkit")]
)
def test_a_program_says_what_it_lacks(bare: Path, module: str, package: str) -> None:
    ran = run(bare, "-m", module, "--help")
    said = f"greenchat: the package {package} is missing: install greenchat with its dependencies\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)


# -- The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that ``python -m build`` makes."""
    folder = tmp_path_factory.mktemp("wheel")
    done(sys.executable, "-m", "build", "--outdir", folder / "dist", copied(folder))
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


class Environment:
    """An empty virtual environment.  It has no pip: ours installs into it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder)
        self.commands = folder / "bin"

    def pip(self, *arguments: object) -> str:
        """Run pip for it; return what pip printed."""
        return done(sys.executable, "-m", "pip", "--python", self.commands / "python", *arguments)


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "env")


@pytest.mark.long
def test_the_wheel_serves_a_bot_with_one_package(wheel: Path, env: Environment) -> None:
    env.pip("install", "-q", "--no-deps", wheel, "simplejson")
    assert "greenchat/py.typed" in env.pip("show", "--files", "greenchat")
    done(env.commands / "python", "-c", "from greenchat.client import Client, aio")


@pytest.mark.long
def test_the_commands_of_the_wheel_work(wheel: Path, env: Environment, tmp_path: Path) -> None:
    env.pip("install", "-q", wheel)
    assert env.pip("check") == "No broken requirements found.\n"
    for command in ("greenchat", "greenchat-server", "greenchat-admin"):
        assert done(env.commands / command, "--help").startswith("usage: ")
    talks(env.commands, tmp_path)


def talks(commands: Path, folder: Path) -> None:
    """Have the installed terminal program register a user at the installed server."""
    port = free_port()
    server = subprocess.Popen(
        [commands / "greenchat-server", str(port), "--store", f"sqlite:///{folder}/chat.db"],
        env=clean(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        assert " listening on " in server.stdout.readline()
        program = pexpect.spawn(
            str(commands / "greenchat"), ["127.0.0.1", str(port)], env=clean(), timeout=DEADLINE
        )
        for prompt, answer in (("choice:", "2"), ("name:", "ann"), ("password:", "a long password")):
            program.expect_exact(prompt)
            program.send(f"{answer}\r")
        program.expect_exact("your id is 1")
        program.close(force=True)
    finally:
        server.terminate()
        server.communicate(timeout=DEADLINE)
