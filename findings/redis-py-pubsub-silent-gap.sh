#!/usr/bin/env bash
# redis-py 8.1.0: a subscriber whose connection breaks loses messages without an exception; the only sign is a second
# "subscribe" message, and ignore_subscribe_messages=True hides that one too.
#
# One would guess: get_message() or listen() raises ConnectionError, and the application then knows that it has to
# fetch what it missed. That is so for a client from Redis.from_url(). With Redis(host, port), whose connections
# retry by default, the call connects and subscribes again by itself, and goes on as if nothing had been.
#
# Why it matters to a chat server: nodes that tell each other of new messages by PUBLISH deliver with gaps after a
# restart or failover of Redis. Code that syncs in `except ConnectionError` never runs; watch for "subscribe".
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
for _ in $(seq 200); do redis-cli -p "$port" ping >/dev/null 2>&1 && break; sleep 0.05; done
timeout 60 "$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
from time import monotonic

import redis

PORT = int(sys.argv[1])
publisher = redis.Redis(port=PORT)


def subscribers():
    return publisher.pubsub_numsub("room")[0][1]


def receive(client, **options):
    """Return what the loop of a subscriber sees of three messages, with a break of its connection before the second."""
    subscriber, seen = client.pubsub(**options), []

    def read(until):
        """Note what comes until this holds."""
        deadline = monotonic() + 10
        while not until() and monotonic() < deadline:
            if message := subscriber.get_message(timeout=0.1):
                seen.append("subscribe" if message["type"] == "subscribe" else message["data"].decode())

    try:
        subscriber.subscribe("room")
        read(until=subscribers)
        publisher.publish("room", "1")
        read(until=lambda: "1" in seen)
        killed_and_received = publisher.pipeline().client_kill_filter(_type="pubsub").publish("room", "2").execute()
        assert killed_and_received == [1, 0], killed_and_received
        read(until=subscribers)
        publisher.publish("room", "3")
        read(until=lambda: "3" in seen)
    except redis.ConnectionError as error:
        seen.append(type(error).__name__)
    subscriber.close()
    while subscribers():
        pass
    return seen


print(f"Redis {publisher.info()['redis_version']}, redis-py {redis.__version__}; 1, 2 and 3 are published")
hidden = receive(redis.Redis(port=PORT), ignore_subscribe_messages=True)
shown = receive(redis.Redis(port=PORT))
raised = receive(redis.Redis.from_url(f"redis://127.0.0.1:{PORT}"))
print(f"Redis(host, port), ignore_subscribe_messages=True: {hidden}")
print(f"Redis(host, port): {shown}")
print(f"Redis.from_url(url): {raised}")
as_found = (hidden, shown) == (["1", "3"], ["subscribe", "1", "subscribe", "3"])
as_found &= raised == ["subscribe", "1", "ConnectionError"]
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
