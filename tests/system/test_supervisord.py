"""Real supervisord with ``conf/supervisord.conf``, and the systemd unit that stands beside it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from supervisor.datatypes import byte_size

from greenchat.config import Settings, load
from lab import ROOT
from lab.servers.mariadb import PASSWORD, MariaDb
from lab.servers.node import READY
from lab.servers.program import free_ports
from lab.servers.redis import Redis
from lab.servers.supervisord import CONF, Supervisord
from tests.servers import private
from tests.system.server import DEADLINE, Address, Client

UNIT = ROOT / "conf" / "greenchat@.service"

NAMES = {
    "%(process_num)d": "6001",
    "%(host_node_name)s": "myhost",
    "%H": "myhost",
    "%i": "6001",
}
"""What supervisord and systemd put into a command line."""


@pytest.fixture
def supervisord(mariadb: MariaDb) -> Iterator[Supervisord]:
    """Two servers, whose clients need no heartbeats."""
    settings = {"GREENCHAT_STORE": mariadb.fresh(), "GREENCHAT_HEARTBEAT_INTERVAL": "60"}
    with tempfile.TemporaryDirectory(prefix="greenchat-") as folder, private(Redis) as redis:
        settings["GREENCHAT_BUS"] = redis.url()
        supervisord = Supervisord(Path(folder), 2, free_ports(2), settings)
        supervisord.start()
        try:
            for port in supervisord.ports:
                supervisord.wait_for(port)
            yield supervisord
        finally:
            supervisord.stop()


def test_ports_and_names_are_made_of_the_servers_numbers(supervisord: Supervisord) -> None:
    for port in supervisord.ports:
        ready = READY.findall(supervisord.server_log(port))
        assert len(ready) == 1
        assert f" listening on 127.0.0.1:{port} " in ready[0]
        assert ready[0].endswith(f" node={socket.gethostname()}-{port}")


def test_a_killed_server_is_started_again_and_the_other_is_let_alone(supervisord: Supervisord) -> None:
    killed, other = supervisord.ports
    before = {port: supervisord.server(port)["pid"] for port in supervisord.ports}
    os.kill(before[killed], signal.SIGKILL)
    supervisord.wait_for(killed, starts=2)
    assert supervisord.server(killed)["pid"] != before[killed]
    assert supervisord.server(other)["pid"] == before[other]


def test_a_stop_is_an_orderly_end(supervisord: Supervisord) -> None:
    port = supervisord.ports[0]
    with client_of(port) as client:
        client.done(4, name="ann", password="pw")
        client.login(name="ann", password="pw")
        supervisord.stop_server(port)
        bye = client.wait(msgid=24)
    assert (bye["reason"], "retry_after" in bye) == ("shutdown", True)
    server = supervisord.server(port)
    assert (server["statename"], server["exitstatus"]) == ("STOPPED", 0)
    assert supervisord.server_log(port).endswith("INFO greenchat: stopped\n")


def client_of(port: int) -> Client:
    """Return a connection that says itself what nginx would say."""
    client = Client(Address(port))
    client.write(b"PROXY UNKNOWN\r\n")
    return client


def test_the_end_of_supervisord_is_that_of_its_servers(supervisord: Supervisord) -> None:
    supervisord.stop()
    for port in supervisord.ports:
        assert supervisord.server_log(port).endswith("INFO greenchat: stopped\n")


def test_no_password_is_in_a_command_line_or_a_log(supervisord: Supervisord) -> None:
    secret = PASSWORD.split(" ")[0]
    for port in supervisord.ports:
        pid = supervisord.server(port)["pid"]
        assert secret.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert [path.name for path in supervisord.folder.glob("*log") if secret in path.read_text()] == []


def test_the_logs_are_rotated() -> None:
    for section, prefix in (("program:greenchat", "stdout_logfile"), ("supervisord", "logfile")):
        settings = configuration()[section]
        assert byte_size(settings[f"{prefix}_maxbytes"]) > 0
        assert int(settings[f"{prefix}_backups"]) > 0


def configuration() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(CONF)
    return parser


def test_the_longest_drain_is_waited_for() -> None:
    drain = 2 * Settings.shutdown_timeout
    assert int(configuration()["program:greenchat"]["stopwaitsecs"]) > drain
    assert int(unit("TimeoutStopSec")) > drain


def unit(name: str) -> str:
    """Return a value of the systemd unit."""
    value: str
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.M)
    return value


def test_all_command_lines_are_understood() -> None:
    commands = re.findall(r"^;?command = (.*)$", CONF.read_text(), re.M)
    assert len(commands) == 2
    commands.append(unit("ExecStart"))
    for command in commands:
        _, _, options = command.partition(" -m greenchat.server ")
        for name, value in NAMES.items():
            options = options.replace(name, value)
        settings = load(shlex.split(options), {})
        assert (settings.port, settings.node, settings.proxy_protocol) == (6001, "myhost-6001", True)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    copy = tmp_path / "greenchat@6001.service"
    copy.write_text(UNIT.read_text().replace("/opt/greenchat/.venv/bin/python", sys.executable))
    told = subprocess.run(
        ["systemd-analyze", "verify", copy], check=False, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (told.returncode, told.stderr) == (0, "")
