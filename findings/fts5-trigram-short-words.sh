#!/usr/bin/env bash
# SQLite's FTS5 with tokenize='trigram': a word of one or two characters finds nothing alone or with AND, and is
# left out of the query without a sign beside a longer word, or behind NOT.
#
# One would guess: words side by side mean AND, so `ok meet` and `ok AND meet` find the same. In fact the short word
# gives no token: a phrase without tokens is dropped from the implicit AND (too much is found, `meet NOT ok` excludes
# nothing) and matches no row in the explicit one (nothing is found).
#
# Why it matters to a chat server: short words are the usual ones in chats ("ok", "no", "7", most words of Chinese).
# A search box finds nothing for them, or shows messages without the word that was asked for or with the excluded one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
timeout 60 python3 - <<'PYTHON'
import sqlite3
import sys

MESSAGES = ["ok meet at ten", "no meet today", "ok then"]
EXPECTED = {  # a query, the messages that were found
    "meet": [1, 2],
    "ok": [],
    "ok meet": [1, 2],
    '"ok" "meet"': [1, 2],
    "ok AND meet": [],
    "meet NOT ok": [1, 2],
}
database = sqlite3.connect("chat.db")
database.execute("CREATE VIRTUAL TABLE messages USING fts5(body, tokenize='trigram')")
database.executemany("INSERT INTO messages VALUES (?)", ((body,) for body in MESSAGES))
print(f"SQLite {sqlite3.sqlite_version}; the messages: {MESSAGES}")
as_found = True
for query, rows in EXPECTED.items():
    found = [row for (row,) in database.execute("SELECT rowid FROM messages WHERE messages MATCH ?", (query,))]
    print(f"{query:14} finds {[MESSAGES[row - 1] for row in found]}")
    as_found &= found == rows
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
