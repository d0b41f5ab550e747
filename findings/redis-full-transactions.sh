#!/usr/bin/env bash
# Redis 7.0, full (maxmemory, noeviction): inside MULTI even DEL and GET are refused, and so is each `#!lua` script
# without flags, while the same commands alone, and the same script without its first line, go on.
#
# One would guess: a full server refuses what takes memory, and goes on answering reads, deletions and PEXPIRE. That
# holds for single commands. Between MULTI and EXEC everything is refused, since the queue takes memory itself; and
# redis-py's pipeline() sends MULTI unless it is told transaction=False. A script that begins with `#!lua` counts as
# one that takes memory unless it says flags=no-writes or flags=allow-oom, whatever its commands are.
#
# Why it matters to a chat server: what would free memory (a sweep of stale sessions in pipelines) is refused exactly
# when it is needed, and renewing leases by a script fails where a plain PEXPIRE works: nodes count as dead.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
command -v redis-server >/dev/null || { echo "needs redis-server (Debian's package)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check redis==8.1.0
redis-server --port 0 --unixsocket "$folder/sock" --save '' --dir "$folder" --logfile "$folder/log" &
server=$!
for _ in $(seq 200); do redis-cli -s "$folder/sock" ping >/dev/null 2>&1 && break; sleep 0.05; done
timeout 60 "$folder/venv/bin/python" - "$folder/sock" <<'PYTHON'
import sys

import redis

RENEW = "return redis.call('PEXPIRE', KEYS[1], 60000)"
READ = "return redis.call('GET', KEYS[1])"
client = redis.Redis(unix_socket_path=sys.argv[1])
print(f"Redis {client.info()['redis_version']}, redis-py {redis.__version__}")
client.config_set("maxmemory-policy", "noeviction")
client.config_set("maxmemory", client.info()["used_memory"] + 4_000_000)
client.set("lease", "node 1", px=60000)
try:
    for number in range(1000):
        client.set(f"stale {number}", b"x" * 20_000)
except redis.exceptions.OutOfMemoryError as error:
    print(f"full after {number} keys: {error}")
# Freeing a few keys below does not make it less full.
client.config_set("maxmemory", client.info()["used_memory"] // 2)


def pipelined(command, *arguments, **options):
    pipeline = client.pipeline(**options)
    getattr(pipeline, command)(*arguments)
    return pipeline.execute()


TRIES = [  # what is tried, whether it is refused
    ("SET of the existing lease", lambda: client.set("lease", "node 1", px=60000), True),
    ("PEXPIRE", lambda: client.pexpire("lease", 60000), False),
    ("GET", lambda: client.get("lease"), False),
    ("DEL", lambda: client.delete("stale 1"), False),
    ("pipeline(): GET", lambda: pipelined("get", "lease"), True),
    ("pipeline(): DEL", lambda: pipelined("delete", "stale 2"), True),
    ("pipeline(): PEXPIRE", lambda: pipelined("pexpire", "lease", 60000), True),
    ("pipeline(transaction=False): DEL", lambda: pipelined("delete", "stale 2", transaction=False), False),
    ("EVAL of PEXPIRE", lambda: client.eval(RENEW, 1, "lease"), False),
    ("EVAL of PEXPIRE, #!lua", lambda: client.eval("#!lua\n" + RENEW, 1, "lease"), True),
    ("EVAL of GET, #!lua", lambda: client.eval("#!lua\n" + READ, 1, "lease"), True),
    ("EVAL of GET, #!lua flags=no-writes", lambda: client.eval("#!lua flags=no-writes\n" + READ, 1, "lease"), False),
    ("EVAL of PEXPIRE, #!lua flags=allow-oom", lambda: client.eval("#!lua flags=allow-oom\n" + RENEW, 1, "lease"), False),
]
as_found = True
for name, attempt, expected in TRIES:
    try:
        answer, refused = attempt(), False
    except redis.exceptions.RedisError as error:
        answer, refused = f"{type(error).__name__}: {str(error)[:60]}", "OOM" in str(error) or "maxmemory" in str(error)
    print(f"{name:39} {'refused' if refused else 'answered'}: {answer}")
    as_found &= refused == expected
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
