#!/usr/bin/env bash
# gevent 26.9.0: a one-shot timer of the loop that is started a second time fires at once, not after its delay.
#
# One would guess: loop.timer(0.2) means "0.2 s after each start()". That holds for the first start() only. A later
# start() of the same timer, also after stop(), calls back in the next turn of the loop. A timer made with a
# repeat, loop.timer(0.2, 0.2), counts anew with again(callback), and that one keeps its distance.
#
# Why it matters to a chat server: pacing, typing timeouts and retry pauses that keep one timer a connection (a
# timer costs less than a greenlet) lose their pause silently, and what was to be spread comes in a burst.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check gevent==26.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from time import monotonic

import gevent

DELAY = 0.2
loop = gevent.get_hub().loop


def wait(start):
    """Return the seconds from a start to the call."""
    began, done = monotonic(), gevent.event.Event()
    start(done.set)
    done.wait(5)
    return monotonic() - began


import gevent.event

once = loop.timer(DELAY)
first = wait(lambda call: once.start(call, update=True))
once.stop()
second = wait(lambda call: once.start(call, update=True))
repeating = loop.timer(DELAY, DELAY)
fresh = wait(lambda call: repeating.again(call, update=True))
again = wait(lambda call: repeating.again(call, update=True))
repeating.stop()
print(f"gevent {gevent.__version__}, a delay of {DELAY} s")
print(f"one-shot timer: start() after {first:.2f} s, a second start() after {second:.2f} s")
print(f"repeating timer: again() after {fresh:.2f} s, a second again() after {again:.2f} s")
as_found = first >= DELAY * 0.9 and second < DELAY / 2 and min(fresh, again) >= DELAY * 0.9
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
