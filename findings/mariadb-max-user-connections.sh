#!/usr/bin/env bash
# MariaDB 10.11: a server started without max_user_connections cannot be given one, and a limit of an account does
# not count the connections that are already open.
#
# One would guess: SET GLOBAL max_user_connections works like that of max_connections, as guides say. In fact it
# answers error 1290, "running with the --max-user-connections=0 option", although nobody gave that option. ALTER USER
# … MAX_USER_CONNECTIONS works, but only connections made later are counted. A server started with any other number
# (100000, say) counts from the start: SET GLOBAL works there, and with it all open connections count.
#
# Why it matters to a chat server: in the storm when everybody reconnects, the limit that was to save the database for
# the other services cannot be set without a restart, or lets through as many connections again. Start with a number.
set -euo pipefail
folder=$(mktemp -d)
servers=()
trap 'kill "${servers[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
PATH=$PATH:/usr/sbin
command -v mariadbd >/dev/null || { echo "needs mariadb-server (Debian's package)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check PyMySQL==1.2.4
mariadb-install-db --no-defaults --datadir="$folder/data" --user="$(id -un)" --skip-test-db >/dev/null 2>&1
cp -a "$folder/data" "$folder/data2"
start() { # NAME DATADIR OPTIONS…
    mariadbd --no-defaults --datadir="$2" --user="$(id -un)" --skip-networking --socket="$folder/$1" \
        --pid-file="$folder/$1.pid" --log-error="$folder/$1.log" "${@:3}" 2>/dev/null &
    servers+=($!)
    for _ in $(seq 200); do mariadb --no-defaults --socket="$folder/$1" -e 'SELECT 1' >/dev/null 2>&1 && return; sleep 0.1; done
}
start without "$folder/data"
start with "$folder/data2" --max-user-connections=100000
timeout 60 "$folder/venv/bin/python" - "$folder" "$(id -un)" <<'PYTHON'
import sys
from contextlib import ExitStack

import pymysql

FOLDER, ADMIN = sys.argv[1:]
OPEN, LIMIT = 5, 3


def connect(server, user):
    return pymysql.connect(unix_socket=f"{FOLDER}/{server}", user=user)


def attempt(server, limit):
    """Open connections, set a limit; return an error of the limit, and how many more connections were let in."""
    with ExitStack() as held, connect(server, ADMIN) as admin:
        admin.cursor().execute("CREATE OR REPLACE USER chat@localhost")
        for _ in range(OPEN):
            held.enter_context(connect(server, "chat"))
        try:
            admin.cursor().execute(limit)
        except pymysql.OperationalError as error:
            print(f"server started {server} the option: {limit}: error {error}")
            return error.args[0], None
        more = 0
        try:
            while more < 100:
                held.enter_context(connect(server, "chat"))
                more += 1
        except pymysql.OperationalError as error:
            print(f"server started {server} the option: {limit}: {OPEN} were open, {more} more let in, then {error}")
        return None, more


with connect("with", ADMIN) as admin, admin.cursor() as cursor:
    cursor.execute("SELECT VERSION()")
    print("MariaDB", *cursor.fetchone())
system = f"SET GLOBAL max_user_connections = {LIMIT}"
account = f"ALTER USER chat@localhost WITH MAX_USER_CONNECTIONS {LIMIT}"
found = attempt("without", system), attempt("without", account), attempt("with", system)
as_found = found == ((1290, None), (None, LIMIT), (None, 0))
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
