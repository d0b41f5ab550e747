#!/usr/bin/env bash
# redis-py 8.1.0: one incr() whose answer is lost counts many times, or once: it depends on how the client was made.
#
# One would guess: a command that is not idempotent is sent once, or the application asks for a retry. In fact
# Redis(host, port) makes a connection pool whose connections retry ten times, with INCR like with GET; a client
# from Redis.from_url() with the same address does not retry, although both print the same class and options.
#
# Why it matters to a chat server: sequence numbers, unread counters and rate limits kept in Redis by INCR jump when
# a connection breaks between command and answer, which is what a failover or a restart of Redis looks like.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
command -v redis-server >/dev/null || { echo "needs redis-server (Debian's package)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check redis==8.1.0
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$folder" --logfile "$folder/log" &
server=$!
until redis-cli -p "$port" ping 2>/dev/null | grep -q PONG; do sleep 0.05; done
echo "redis-server $(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/')"
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import socket
import sys
import threading

import redis

PORT = int(sys.argv[1])


class Line:
    """A TCP proxy that hands all on to the server, and ends the connection in place of an answer to INCR."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(("127.0.0.1", PORT)) as server:
            while request := client.recv(65536):
                server.sendall(request)
                answer = server.recv(65536)
                if b"INCR" in request:
                    return
                client.sendall(answer)


def count(make):
    """Return what one incr() through the line counted."""
    direct = redis.Redis(port=PORT)
    direct.delete("n")
    try:
        make(Line().port).incr("n")
    except redis.ConnectionError:
        pass
    return int(direct.get("n"))


by_arguments = count(lambda port: redis.Redis("127.0.0.1", port))
by_url = count(lambda port: redis.Redis.from_url(f"redis://127.0.0.1:{port}"))
print(f"redis-py {redis.__version__}: one incr() that never gets an answer counts")
print(f"  {by_arguments} times with Redis(host, port), {by_url} times with Redis.from_url(url)")
as_found = by_arguments > 1 and by_url == 1
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
