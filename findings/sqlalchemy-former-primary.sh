#!/usr/bin/env bash
# SQLAlchemy 2.1.9 with PyMySQL 1.2.4: after a planned switch of MariaDB's primary the pool keeps its connections to
# the old one; writes fail for ever, and reads go on there and show a state that no longer changes.
#
# One would guess: pool_pre_ping=True, or the error, makes the pool connect anew, and the name then leads to the new
# primary. In fact the old server answers the ping, and its refusal (1290, "--read-only option") is no "disconnect"
# to SQLAlchemy. Only pool_recycle, or a restart, ends it. A listener of handle_error that sets is_disconnect for
# the refusal throws the whole pool away (so do Go's driver with rejectReadOnly, and node-mysql2).
#
# Why it matters to a chat server: it loses nothing in a crash of the primary, where connections break, and stands
# still after the careful switch by hand: nobody can write, and some workers answer reads from the past.
set -euo pipefail
folder=$(mktemp -d)
servers=()
trap 'kill "${servers[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
PATH=$PATH:/usr/sbin
command -v mariadbd >/dev/null || { echo "needs mariadb-server (Debian's package)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check SQLAlchemy==2.1.9 PyMySQL==1.2.4
mariadb-install-db --no-defaults --datadir="$folder/a.data" --user="$(id -un)" --skip-test-db >/dev/null 2>&1
cp -a "$folder/a.data" "$folder/b.data"
for name in a b; do
    mariadbd --no-defaults --datadir="$folder/$name.data" --user="$(id -un)" --skip-networking --socket="$folder/$name" \
        --pid-file="$folder/$name.pid" --log-error="$folder/$name.log" 2>/dev/null &
    servers+=($!)
done
for name in a b; do
    for _ in $(seq 200); do mariadb --no-defaults --socket="$folder/$name" -e 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.1; done
    mariadb --no-defaults --socket="$folder/$name" -e "CREATE DATABASE chat; CREATE TABLE chat.messages (body TEXT);
        CREATE USER chat@localhost; GRANT ALL ON chat.* TO chat@localhost"
done
mariadbd --version
timeout 60 "$folder/venv/bin/python" - "$folder" "$(id -un)" <<'PYTHON'
import os
import sys
from importlib.metadata import version

import pymysql
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

FOLDER, ADMIN = sys.argv[1:]
NAME = f"{FOLDER}/primary"


def point(server):
    """Let the name lead to this server, as a change in the DNS or of a floating address does."""
    os.symlink(f"{FOLDER}/{server}", f"{NAME}.new")
    os.replace(f"{NAME}.new", NAME)


def administer(server, statement):
    with pymysql.connect(unix_socket=f"{FOLDER}/{server}", user=ADMIN, autocommit=True) as admin:
        admin.cursor().execute(statement)


def write(engine, body):
    try:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO messages VALUES (:body)"), {"body": body})
        return "stored"
    except DBAPIError as error:
        return error.orig.args[0]


def read(engine):
    with engine.connect() as connection:
        return connection.scalars(text("SELECT body FROM messages")).all()


print(f"SQLAlchemy {version('SQLAlchemy')}, PyMySQL {version('PyMySQL')}")
point("a")
engine = create_engine(f"mysql+pymysql://chat@localhost/chat?unix_socket={NAME}", pool_pre_ping=True)
print(f"before: write {write(engine, 'old')}, read {read(engine)}")
administer("a", "SET GLOBAL read_only = ON")
administer("b", "INSERT INTO chat.messages VALUES ('old'), ('new')")  # has all of a's, and what came since
point("b")
after = [(write(engine, "mine"), read(engine)) for _ in range(5)]
print(f"after the switch, five times: write {[answer for answer, _ in after]}, read {[rows for _, rows in after]}")


@event.listens_for(engine, "handle_error")
def leave_former_primary(context):
    context.is_disconnect |= context.original_exception.args[0] == 1290


mended = [(write(engine, "mine"), read(engine)) for _ in range(2)]
print(f"with a listener of handle_error, twice: write and read {mended}")
as_found = after == [(1290, ["old"])] * 5 and mended == [(1290, ["old", "new"]), ("stored", ["old", "new", "mine"])]
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
