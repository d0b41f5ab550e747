#!/usr/bin/env bash
# Redis 7.0: one large message cuts off a subscriber that reads all the time, and PUBLISH counts it as a receiver.
#
# One would guess: client-output-buffer-limit (pubsub 32mb 8mb 60) is for subscribers that do not read. In fact the
# whole message is in the buffer before a byte of it is sent, so that one at the limit ends the connection of each
# subscriber, however fast. The allocator's rounding counts: 29 MiB is already too much. A message of up to 512 MiB is
# accepted, and PUBLISH answers with the number of those that it has just cut off.
#
# Why it matters to a chat server: a state that grows with the users and is sent in one message (who is online, a
# snapshot for a new node) works for years, then disconnects every node at once; they come back, ask, and are cut again.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
command -v redis-server >/dev/null || { echo "needs redis-server (Debian's package)" >&2; exit 2; }
redis-server --port 0 --unixsocket "$folder/sock" --save '' --dir "$folder" --logfile "$folder/log" &
server=$!
for _ in $(seq 200); do redis-cli -s "$folder/sock" ping >/dev/null 2>&1 && break; sleep 0.05; done
redis-server --version | sed 's/.* v=\([^ ]*\).*/Redis \1/'
redis-cli -s "$folder/sock" config get client-output-buffer-limit | tail -1
timeout 60 python3 - "$folder/sock" <<'PYTHON'
import socket
import sys
import threading


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(sys.argv[1])
    return connection


def publish(mebibytes):
    """Publish a message to one subscriber that reads; return the answer of PUBLISH, what was read, whether it was cut."""
    subscriber, size, read, cut = connect(), mebibytes << 20, 0, False
    subscriber.sendall(b"SUBSCRIBE room\r\n")
    assert b"subscribe" in subscriber.recv(4096)

    def listen():
        nonlocal read, cut
        while read < size and not cut:
            data = subscriber.recv(1 << 20)
            read, cut = read + len(data), not data

    listener = threading.Thread(target=listen)
    listener.start()
    with connect() as publisher:
        publisher.sendall(b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n$%d\r\n" % size + bytes(size) + b"\r\n")
        answer = publisher.recv(4096).decode().strip()
    listener.join()
    subscriber.close()
    end = ", then the end of the connection" if cut else ""
    print(f"a message of {mebibytes} MiB: PUBLISH answers {answer}, the subscriber got {read} bytes{end}")
    return answer, read >= size, cut


small, large = publish(27), publish(29)
as_found = small == (":1", True, False) and large == (":1", False, True)
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
