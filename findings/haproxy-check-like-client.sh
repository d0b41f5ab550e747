#!/usr/bin/env bash
# HAProxy 2.6 with send-proxy (version 1): each health check introduces itself like a person behind the proxy, as
# "PROXY TCP4" with the proxy's own address; with send-proxy-v2 it says LOCAL, "from the proxy itself".
#
# One would guess: a check says "PROXY UNKNOWN", version 1's way to say that there is no client, since version 2 has
# a command for exactly that and HAProxy uses it there. In fact nothing in a version 1 header tells a check from a
# client that connects and leaves.
#
# Why it matters to a chat server: each check counts as a connection of one address, every two seconds from each
# proxy. Limits and bans by address hit the checks: the proxy then takes a healthy server out. Use version 2 there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PATH=$PATH:/usr/sbin
command -v haproxy >/dev/null || { echo "needs haproxy (Debian's package)" >&2; exit 2; }
haproxy -v | sed -n 1p
timeout 60 python3 - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
from pathlib import Path

VERSION_2 = b"\r\n\r\n\0\r\nQUIT\n"
COMMANDS = {0x20: "LOCAL", 0x21: "PROXY"}
backends = {name: socket.create_server(("127.0.0.1", 0)) for name in ("send-proxy", "send-proxy-v2")}
fronts = {name: socket.create_server(("127.0.0.1", 0)) for name in backends}


def port(listener):
    return listener.getsockname()[1]


def header(listener):
    """Accept a connection; return the client's address in its header, or the command or family that stands for none."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(10)
        data = connection.recv(200)
    if not data.startswith(VERSION_2):
        _, family, client, _ = data.decode("ascii").split(maxsplit=3)
        return f"PROXY {family} {client}"
    client = socket.inet_ntoa(data[16:20]) if data[13] == 0x11 else ""
    return f"{COMMANDS[data[12]]} {client}".strip()


lines = ["defaults", "mode tcp", "timeout connect 5s", "timeout client 5s", "timeout server 5s"]
for name, backend in backends.items():
    lines += [f"listen {name}", f"bind 127.0.0.1:{port(fronts[name])}"]
    lines += [f"server chat 127.0.0.1:{port(backend)} {name} check inter 1s"]
    backend.settimeout(20)
configuration = Path(sys.argv[1], "conf")
configuration.write_text("\n".join([*lines, ""]))
front_ports = {name: port(front) for name, front in fronts.items()}
for front in fronts.values():
    front.close()
proxy = subprocess.Popen(["haproxy", "-db", "-f", configuration], stderr=subprocess.DEVNULL)
try:
    checks = {name: [header(backend) for _ in range(3)] for name, backend in backends.items()}
    clients = {}
    for name, backend in backends.items():
        with socket.create_connection(("127.0.0.1", front_ports[name])):
            # Checks come between; where they differ from a client, the one that differs is the client.
            headers = [header(backend) for _ in range(3)]
        clients[name] = next((each for each in headers if each != checks[name][0]), headers[0])
finally:
    proxy.terminate()
    proxy.wait()
for name in backends:
    print(f"{name}: three checks: {checks[name]}; a client: {clients[name]}")
like_client = checks["send-proxy"] == ["PROXY TCP4 127.0.0.1"] * 3 and clients["send-proxy"] == "PROXY TCP4 127.0.0.1"
apart = checks["send-proxy-v2"] == ["LOCAL"] * 3 and clients["send-proxy-v2"] == "PROXY 127.0.0.1"
print("as found" if like_client and apart else "not as found")
sys.exit(not (like_client and apart))
PYTHON
