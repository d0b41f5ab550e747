#!/usr/bin/env bash
# MariaDB 10.11: a server that starts deletes the temporary tables of every other running server that has the same
# tmpdir, which is /tmp unless it is set. The other server then answers "Unknown table" or "Can't find file".
#
# One would guess: two servers with data folders, sockets and ports of their own do not touch each other; the names of
# the files in /tmp hold the process id. In fact each start, that of mariadb-install-db too, removes all that begins
# with "#sql" there.
#
# Why it matters to a chat server: a second server on the machine of the first (an upgrade tried beside it, a restore
# looked into, tests that run together) makes statements of the living one fail that sort or build much, and its
# own set-up fails now and then ("1051 Unknown table 'mysql.tmp_user_sys'"). Give each server a tmpdir of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
command -v mariadbd >/dev/null || { echo "needs mariadbd (Debian's package mariadb-server)" >&2; exit 2; }
mariadbd --version
chmod 755 "$folder"
mkdir -m 777 "$folder/tmp"
me=$(id -un)

install_db() {
    mariadb-install-db --no-defaults --user="$me" --datadir="$folder/$1" --tmpdir="$2" --skip-test-db \
        --auth-root-authentication-method=normal >"$folder/$1.install" 2>&1
}
sql() { mariadb --no-defaults --socket="$folder/sock" --user=root -N "$@"; }

install_db first "$folder/tmp"
mariadbd --no-defaults --user="$me" --datadir="$folder/first" --socket="$folder/sock" --skip-networking \
    --tmpdir="$folder/tmp" >"$folder/log" 2>&1 &
pid=$!
for _ in $(seq 300); do sql -e "SELECT 1" >/dev/null 2>&1 && break; sleep 0.1; done

# try NAME TMPDIR: make a temporary table, let a second server be set up meanwhile, and drop the table.
try() {
    mkfifo "$folder/$1.in"
    mariadb --no-defaults --socket="$folder/sock" --user=root -N -f test <"$folder/$1.in" >"$folder/$1.out" 2>&1 &
    local client=$!
    exec 9>"$folder/$1.in"
    echo "CREATE TEMPORARY TABLE page (id INT) ENGINE=Aria; INSERT INTO page VALUES (42); FLUSH TABLES; SELECT 'made';" >&9
    for _ in $(seq 300); do grep -q made "$folder/$1.out" && break; sleep 0.1; done
    install_db "$1" "$2"
    echo "SELECT id FROM page; DROP TEMPORARY TABLE page;" >&9
    exec 9>&-
    wait "$client" || true
    echo "$1: $(tr '\n' ';' <"$folder/$1.out")"
}
sql -e "CREATE DATABASE test"
mkdir -m 777 "$folder/other"
try apart "$folder/other"
try shared "$folder/tmp"
if [[ $(cat "$folder/apart.out") == $'made\n42' ]] && grep -q "^ERROR" "$folder/shared.out"; then
    echo "as found"
else
    echo "not as found"
    exit 1
fi
