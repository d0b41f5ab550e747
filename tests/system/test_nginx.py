"""Real nginx with ``conf/nginx_stream.conf``, its ports apart, in front of real servers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from lab.servers.nginx import CONF, Nginx, configuration
from lab.servers.program import find, free_port
from tests.servers import need
from tests.system.server import DEADLINE, Address, Client, Frame, Server

Start = Callable[..., Server]

LOGIN = {"name": "ann", "password": "pw"}

STRATEGIES = ("least_conn;", "random two least_conn;", "hash $remote_addr consistent;")


@pytest.fixture
def servers(start: Start) -> list[Server]:
    """Three servers that know Ann; the third is not behind nginx yet.  Each has a database of its own."""
    servers = [start("--proxy-protocol", "--node", f"node{number}") for number in range(3)]
    for server in servers:
        with directly(server) as client:
            client.done(4, **LOGIN)
    return servers


@pytest.fixture
def nginx(tmp_path: Path, servers: list[Server]) -> Iterator[Nginx]:
    need("nginx")
    folder = tmp_path / "nginx"
    folder.mkdir()
    nginx = Nginx(folder, [server.port for server in servers[:2]], free_port())
    nginx.start()
    yield nginx
    nginx.stop()


def directly(server: Server) -> Client:
    """Return a connection that says itself what nginx would say."""
    client = Client(server)
    client.write(b"PROXY UNKNOWN\r\n")
    return client


def come(nginx: Nginx) -> tuple[Client, str]:
    """Return Ann's connection, and the node that it came to; she is logged in with a new device."""
    client = Client(Address(nginx.port))
    ack: Frame = client.login(**LOGIN, device=str(client.sock.getsockname()[1]))
    return client, ack["server"]


def test_clients_are_spread_and_their_addresses_reach_the_log(servers: list[Server], nginx: Nginx) -> None:
    came = [come(nginx) for _ in range(2)]
    assert {node for _, node in came} == {"node0", "node1"}
    for client, node in came:
        host, port = client.sock.getsockname()
        client.sock.close()
        servers[int(node.removeprefix("node"))].wait_for_log(f" {host}:{port} user=1 ended: closed by peer")


def wait_for_line(path: Path, words: str) -> str:
    """Return the first line of a log that has these words."""
    found: list[str] = []

    def written() -> bool:
        found[:] = [line for line in path.read_text().splitlines() if words in line]
        return bool(found)

    wait_for(written)
    return found[0]


def wait_for(true: Callable[[], bool]) -> None:
    until = monotonic() + DEADLINE
    while not true():
        assert monotonic() < until
        sleep(0.02)


def test_the_access_log_has_a_line_for_each_session(servers: list[Server], nginx: Nginx) -> None:
    client, _ = come(nginx)
    host, port = client.sock.getsockname()
    client.sock.close()
    assert re.fullmatch(
        rf"\S+ {host}:{port} status=200 session=\d+\.\d+s"
        rf" upstream=127\.0\.0\.1:{servers[0].port} connect=\d\.\d+ received=\d+ sent=\d+",
        wait_for_line(nginx.access_log, f" {host}:{port} "),
    )


def test_a_killed_server_is_skipped_and_used_again_when_it_is_back(
    servers: list[Server], nginx: Nginx
) -> None:
    servers[0].kill()
    came = [come(nginx) for _ in range(4)]
    assert {node for _, node in came} == {"node1"}
    servers[0].start()
    wait_for_node(nginx, "node0")
    for client, _ in came:
        client.sock.close()


def wait_for_node(nginx: Nginx, wanted: str) -> None:
    """Come again and again until it is at this node."""

    def arrived() -> bool:
        client, node = come(nginx)
        client.sock.close()
        return node == wanted

    wait_for(arrived)


def test_who_is_told_to_leave_by_a_server_that_ends_finds_the_other(
    servers: list[Server], nginx: Nginx
) -> None:
    client, node = come(nginx)
    assert (node, servers[0].stop()) == ("node0", 0)
    assert client.wait(msgid=24)["reason"] == "shutdown"
    assert client.ended() == []
    client, node = come(nginx)
    assert node == "node1"
    client.sock.close()


def test_who_ends_their_half_of_the_connection_still_gets_the_answers(
    servers: list[Server], nginx: Nginx
) -> None:
    """As ``printf … | nc -N`` does: all is sent, and the end of it, before the login is answered."""
    requests = [
        {"msgid": 1, "device": "nc"} | LOGIN,
        {"msgid": 6, "toid": 1, "msg": "from a pipe", "cid": "c"},
    ]
    command = [find("nc"), "-N", "127.0.0.1", str(nginx.port)]
    said = "".join(json.dumps(request) + "\n" for request in requests)
    ran = subprocess.run(command, input=said, capture_output=True, text=True, timeout=DEADLINE, check=False)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(answer["msgid"], answer["errno"]) for answer in answers] == [(2, 0), (11, 0)]
    assert servers[0].rows('SELECT body FROM "Message"') == [("from a pipe",)]


def test_a_reload_adds_a_server_and_drops_nobody(servers: list[Server], nginx: Nginx) -> None:
    came = [come(nginx) for _ in range(4)]
    nginx.reload([server.port for server in servers])
    wait_for_node(nginx, "node2")
    for client, _ in came:
        client.send(12)
        assert client.wait(msgid=12) == {"msgid": 12}
        client.sock.close()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_is_accepted(tmp_path: Path, strategy: str) -> None:
    text = configuration(free_port(), [6001, 6002])
    for other in STRATEGIES:
        text = re.sub(rf"^( +)#?{re.escape(other)}$", rf"\1#{other}", text, flags=re.M)
    text = text.replace(f" #{strategy}", f" {strategy}")
    assert accepted(tmp_path, text)


def test_what_is_commented_out_is_accepted(tmp_path: Path) -> None:
    text = re.sub(r"^( +)#((?:server |limit_).*;)$", r"\1\2", configuration(free_port(), [6001]), flags=re.M)
    assert text.count(" server 10.0.0.") == 4
    assert len(re.findall(r"^ +limit_conn", text, re.M)) == 2
    assert accepted(tmp_path, text)
    assert not accepted(tmp_path, text.replace("backup;", "backups;"))


def test_the_block_for_tls_is_accepted(tmp_path: Path) -> None:
    need("openssl")
    plain, start, block = configuration(free_port(), [6001]).partition("    #server {\n")
    text = plain + re.sub(r"^    #", "    ", start + block, flags=re.M)
    key, certificate = make_certificate(tmp_path)
    text = text.replace("/etc/ssl/greenchat/privkey.pem", str(key))
    assert accepted(tmp_path, text.replace("/etc/ssl/greenchat/fullchain.pem", str(certificate)))
    assert not accepted(tmp_path, text)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate of its own."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
    return key, certificate


def accepted(folder: Path, text: str) -> bool:
    """Return whether nginx takes a configuration."""
    need("nginx")
    conf = folder / "nginx.conf"
    conf.write_text(text)
    command: list[str | Path] = [find("nginx"), "-t", "-q", "-e", "stderr", "-p", folder, "-c", conf]
    return subprocess.run(command, check=False, timeout=DEADLINE).returncode == 0


def test_the_file_of_the_checkout_is_used_as_it_is() -> None:
    need("nginx")
    assert configuration(8000, [6001, 6002, 6003]) == CONF.read_text()
