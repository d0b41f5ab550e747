#!/usr/bin/env bash
# Python's sqlite3, Connection.backup(pages=n, sleep=s): it neither sleeps between its steps nor ends beside a writer.
#
# One would guess: small steps with a pause make a gentle online backup that takes longer. In fact `sleep` counts only
# after a step that found the database locked, so that the copy runs at full speed; and each commit of another
# connection makes SQLite begin again with the first page, so that commits at shorter distances than one whole copy
# takes keep it from ever ending, without an error. (`.backup` of the sqlite3 program copies in steps of 100 pages
# too.) One step for all, pages=-1, and VACUUM INTO read one snapshot and end beside the same writer.
#
# Why it matters to a chat server: people write all day. The nightly backup works on the quiet test machine and
# spins for ever, reading at full speed, on the one that is used.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
timeout 60 python3 - "$folder" <<'PYTHON'
import os
import sqlite3
import sys
import threading
from time import monotonic

ROWS, PAGES, SLEEP, PATIENCE = 20_000, 100, 0.25, 8
path, copy = os.path.join(sys.argv[1], "chat.db"), os.path.join(sys.argv[1], "copy.db")
source = sqlite3.connect(path)
source.execute("PRAGMA journal_mode = WAL")
source.execute("CREATE TABLE messages (body BLOB)")
source.executemany("INSERT INTO messages VALUES (?)", ((os.urandom(3000),) for _ in range(ROWS)))
source.commit()
source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
done = threading.Event()


def write():
    """Commit a row fifty times a second."""
    own = sqlite3.connect(path, timeout=10)
    while not done.wait(0.02):
        own.execute("INSERT INTO messages VALUES (x'00')")
        own.commit()
    own.close()


class OutOfPatience(Exception):
    pass


def backup(pages):
    """Copy the database; return if it ended, the seconds, and after each step how many pages remained."""
    began, left = monotonic(), []

    def progress(_status, remaining, _total):
        left.append(remaining)
        if monotonic() - began > PATIENCE:
            raise OutOfPatience

    target = sqlite3.connect(copy)
    try:
        source.backup(target, pages=pages, sleep=SLEEP, progress=progress)
        ended = True
    except OutOfPatience:
        ended = False
    target.close()
    os.remove(copy)
    return ended, monotonic() - began, left


def tell(name, ended, seconds, left):
    again = sum(later > earlier for earlier, later in zip(left, left[1:]))
    print(f"{name}: {'ended' if ended else 'NOT ended'} after {seconds:.2f} s, {len(left)} steps, began again {again} times")
    return again


print(f"SQLite {sqlite3.sqlite_version}, Python {sys.version.split()[0]}, {os.path.getsize(path) >> 20} MiB")
alone = backup(PAGES)
tell(f"pages={PAGES}, sleep={SLEEP}, no writer", *alone)
print(f"  {len(alone[2]) - 1} pauses of {SLEEP} s would have taken {(len(alone[2]) - 1) * SLEEP:.0f} s")
writer = threading.Thread(target=write)
writer.start()
beside = backup(PAGES)
again = tell(f"pages={PAGES}, sleep={SLEEP}, beside a writer", *beside)
whole = backup(-1)
tell("pages=-1, beside a writer", *whole)
began = monotonic()
source.execute("VACUUM INTO ?", (copy,))
print(f"VACUUM INTO, beside a writer: ended after {monotonic() - began:.2f} s")
done.set()
writer.join()
unpaced = alone[0] and alone[1] < (len(alone[2]) - 1) * SLEEP / 2
as_found = unpaced and not beside[0] and again > 10 and whole[0]
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
