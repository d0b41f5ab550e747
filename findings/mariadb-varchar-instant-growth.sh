#!/usr/bin/env bash
# MariaDB 10.11: a VARCHAR of up to 31 characters (utf8mb4) grows to 200 instantly, and so does one of 64 or more,
# but one of 32 to 63 characters cannot grow beyond 63 without a copy of the whole table.
#
# One would guess: growing a VARCHAR is instant within one or two bytes of length, and a shorter column is not better
# off than a longer one. In fact InnoDB stores lengths up to 127 in one byte in either format: what could never exceed
# 127 bytes, or was over 255 already, needs no change of rows; a column of 128 to 255 bytes (32 to 63 characters of
# four bytes) has rows that the other format would read differently.
#
# Why it matters to a chat server: names and nicknames are VARCHAR(32) or (50) everywhere. "ALTER TABLE … MODIFY name
# VARCHAR(100)" copies the table while writers wait, and says nothing of it unless ALGORITHM=INSTANT was demanded.
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
for _ in $(seq 200); do sql -e 'CREATE DATABASE IF NOT EXISTS chat' 2>/dev/null && break; sleep 0.1; done
sql -e "SELECT CONCAT('MariaDB ', VERSION())"
found=
for before in 10 31 32 50 63 64 80; do
    sql chat -e "CREATE OR REPLACE TABLE users (name VARCHAR($before)) CHARACTER SET utf8mb4"
    if sql chat -e "ALTER TABLE users MODIFY name VARCHAR(200), ALGORITHM=INSTANT" 2>"$folder/error"; then
        found+="$before:instant " && echo "VARCHAR($before) to VARCHAR(200): instant"
    else
        found+="$before:copy " && echo "VARCHAR($before) to VARCHAR(200): $(grep ERROR "$folder/error")"
    fi
done
[ "$found" = "10:instant 31:instant 32:copy 50:copy 63:copy 64:instant 80:instant " ] || { echo "not as found"; exit 1; }
echo "as found"
