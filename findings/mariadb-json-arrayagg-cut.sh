#!/usr/bin/env bash
# MariaDB 10.11: JSON_ARRAYAGG is cut at 1 MiB, and the rest can be valid JSON: fewer elements, a wrong last number.
#
# One would guess: an aggregate that makes JSON either returns the whole array or fails. In fact it obeys
# group_concat_max_len (1 MiB by default) like GROUP_CONCAT, and closes the array behind the cut. Between two
# digits the result is valid JSON. A warning (1260) is the only sign, and drivers do not show warnings by
# themselves.
#
# Why it matters to a chat server: "the ids of a group's members" or "the seqs that this device lacks", fetched as one
# JSON value to save round trips, silently lose people or messages once a group is large enough, and name a wrong one.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
PATH=$PATH:/usr/sbin
command -v mariadbd >/dev/null || { echo "needs mariadb-server (Debian's package)" >&2; exit 2; }
mariadb-install-db --no-defaults --datadir="$folder/data" --user="$(id -un)" --skip-test-db >/dev/null 2>&1
mariadbd --no-defaults --datadir="$folder/data" --user="$(id -un)" --skip-networking --socket="$folder/sock" \
    --pid-file="$folder/pid" --log-error="$folder/log" 2>/dev/null &
server=$!
sql() { mariadb --no-defaults --socket="$folder/sock" --batch --skip-column-names "$@"; }
for _ in $(seq 200); do sql -e 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.1; done
sql -e "SELECT CONCAT('MariaDB ', VERSION(), ', group_concat_max_len ', @@group_concat_max_len)"
# 200,000 ids of eight digits: 1.8 MB of JSON.
query="SELECT JSON_ARRAYAGG(seq) FROM test.seq_10000001_to_10200000"
sql -e "CREATE DATABASE test; $query; SHOW WARNINGS" >"$folder/answer"
python3 - "$folder/answer" <<'PYTHON'
import json
import sys

text, *warnings = open(sys.argv[1]).read().splitlines()
ids = json.loads(text)
print(f"asked for 200000 ids, got valid JSON with {len(ids)}; the last three are {ids[-3:]}")
print("warning:", *warnings)
wrong = [number for number in ids if not 10_000_001 <= number <= 10_200_000]
as_found = len(ids) < 200_000 and any("1260" in line for line in warnings)
print(f"numbers that were never in the table: {wrong}")
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
