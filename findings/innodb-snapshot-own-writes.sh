#!/usr/bin/env bash
# MariaDB 10.11 (InnoDB, REPEATABLE READ, the default): after a transaction has updated a counter it reads the newest
# counter, but not the rows that others committed with the numbers before it.
#
# One would guess: one transaction reads one state, the old one or the new one. In fact an UPDATE works on the newest
# committed row, a SELECT on the snapshot of the transaction's first read, and its own changes show in both: head 2,
# message 2, no message 1. READ COMMITTED has no such hole; innodb_snapshot_isolation=ON (off by default in 10.11)
# makes the UPDATE fail with error 1020.
#
# Why it matters to a chat server: "bump the room's last number, insert the message, read all above N to deliver"
# skips messages for good, since the head says that they were seen. It takes two nodes that write in the same moment.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
PATH=$PATH:/usr/sbin
command -v mariadbd >/dev/null || { echo "needs mariadb-server (Debian's package)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check PyMySQL==1.2.4
mariadb-install-db --no-defaults --datadir="$folder/data" --user="$(id -un)" --skip-test-db >/dev/null 2>&1
mariadbd --no-defaults --datadir="$folder/data" --user="$(id -un)" --skip-networking --socket="$folder/sock" \
    --pid-file="$folder/pid" --log-error="$folder/log" 2>/dev/null &
server=$!
sql() { mariadb --no-defaults --socket="$folder/sock" "$@"; }
for _ in $(seq 200); do sql -e 'CREATE DATABASE IF NOT EXISTS chat' 2>/dev/null && break; sleep 0.1; done
timeout 60 "$folder/venv/bin/python" - "$folder/sock" "$(id -un)" <<'PYTHON'
import sys

import pymysql

SOCKET, ADMIN = sys.argv[1:]


def connect(*settings):
    connection = pymysql.connect(unix_socket=SOCKET, user=ADMIN, database="chat")
    for setting in settings:
        run(connection, f"SET SESSION {setting}")
    return connection


def run(connection, statement):
    """Run the statement; return the first column of its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]


def send(connection, number):
    """Bump the room's head, store the message under it."""
    run(connection, "UPDATE rooms SET head = head + 1")
    run(connection, f"INSERT INTO messages VALUES ({number})")


def read_after_bump(*settings):
    """Let another node send between this transaction's first read and its bump; return the head and the messages read."""
    one, other = connect(*settings), connect()
    for statement in (
        "CREATE OR REPLACE TABLE rooms (head INT)",
        "CREATE OR REPLACE TABLE messages (number INT PRIMARY KEY)",
        "INSERT INTO rooms VALUES (0)",
        "COMMIT",
        "SELECT head FROM rooms",  # the first read: the snapshot is from here
    ):
        run(one, statement)
    send(other, 1)
    other.commit()
    try:
        send(one, 2)
        seen = run(one, "SELECT head FROM rooms")[0], run(one, "SELECT number FROM messages ORDER BY number")
    except pymysql.err.MySQLError as error:
        seen = error.args[0], []
    one.close()
    other.close()
    return seen


default = connect()
print("MariaDB", *run(default, "SELECT CONCAT(VERSION(), ', isolation ', @@tx_isolation)"))
default.close()
found = by_default, committed, strict = (
    read_after_bump(),
    read_after_bump("TRANSACTION ISOLATION LEVEL READ COMMITTED"),
    read_after_bump("innodb_snapshot_isolation = ON"),
)
print(f"by default: head {by_default[0]}, messages {by_default[1]}")
print(f"READ COMMITTED: head {committed[0]}, messages {committed[1]}")
print(f"innodb_snapshot_isolation=ON: error {strict[0]}")
as_found = found == ((2, [2]), (2, [1, 2]), (1020, []))
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
