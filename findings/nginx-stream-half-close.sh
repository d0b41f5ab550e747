#!/usr/bin/env bash
# nginx 1.22 (stream): a client that has sent all and closes its writing side never gets its answer.
#
# One would guess: a proxy for TCP hands the end of the client's data on and goes on carrying the answer, as the
# kernel does on a direct connection. In fact nginx closes both connections as soon as either side ends its sending,
# unless `proxy_half_close on` is set.
#
# Why it matters to a chat server: `printf … | nc -N`, a health check, or a client that says goodbye with shutdown()
# works on the server's own port and gets nothing through the proxy. The server sees a client that went away, and
# whatever was on its way to it is lost.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
PATH=$PATH:/usr/sbin
module=/usr/lib/nginx/modules/ngx_stream_module.so
command -v nginx >/dev/null && [ -e "$module" ] || { echo "needs nginx and libnginx-mod-stream (Debian's packages)" >&2; exit 2; }
read -r upstream by_default half_close < <(python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in held))')
cat >"$folder/conf" <<CONF
load_module $module;
daemon off;
worker_processes 1;
pid $folder/pid;
events {}
stream {
    server { listen 127.0.0.1:$by_default; proxy_pass 127.0.0.1:$upstream; }
    server { listen 127.0.0.1:$half_close; proxy_pass 127.0.0.1:$upstream; proxy_half_close on; }
}
CONF
nginx -e "$folder/log" -c "$folder/conf" &
server=$!
nginx -v 2>&1
timeout 60 python3 - "$upstream" "$by_default" "$half_close" <<'PYTHON'
import socket
import sys
import threading
from time import sleep

UPSTREAM, BY_DEFAULT, HALF_CLOSE = map(int, sys.argv[1:])
listener = socket.create_server(("127.0.0.1", UPSTREAM))


def read(connection):
    """Return all that comes until the other side ends."""
    return b"".join(iter(lambda: connection.recv(4096), b""))


def answer():
    """Read each request to its end, then answer after a moment, as a server does that asks its database first."""
    while True:
        connection, _ = listener.accept()
        with connection:
            request = read(connection)
            sleep(0.3)
            try:
                connection.sendall(b"answer to " + request)
            except OSError:
                pass


threading.Thread(target=answer, daemon=True).start()


def ask(port):
    for _ in range(100):
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            break
        except ConnectionRefusedError:
            sleep(0.1)
    with connection:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        return read(connection)


direct, default, half = map(ask, (UPSTREAM, BY_DEFAULT, HALF_CLOSE))
print(f"directly: {direct!r}; through nginx: {default!r}; with proxy_half_close on: {half!r}")
as_found = (direct, default, half) == (b"answer to hello", b"", b"answer to hello")
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
