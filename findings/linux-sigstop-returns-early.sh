#!/usr/bin/env bash
# Linux: kill(SIGSTOP) returns before the process has stopped; a server with threads may still answer a request that
# was sent after it.
#
# One would guess: SIGSTOP cannot be caught or blocked, so the process does nothing more once kill() has returned. In
# fact each thread stops when it next looks for signals, and one that runs on another core, or is just being woken,
# goes on for a while. waitpid(WUNTRACED) returns once all threads have stopped (for a process that is no child: wait
# until each /proc/PID/task/*/stat says T).
#
# Why it matters to a chat server: SIGSTOP is how tests make a node or a database hang. "It does not answer now", "it
# does not renew its lease any more", "this message was not delivered" hold nine times in ten, and fail under load.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
timeout 60 python3 - <<'PYTHON'
import os
import platform
import signal
import socket
import subprocess
import sys

TRIES = 200
SERVER = """
import hashlib, socket, threading
def echo(connection):
    while data := connection.recv(100):
        connection.sendall(data)
def work():
    while True:
        hashlib.sha256(bytes(100_000)).digest()
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
threading.Thread(target=echo, args=listener.accept()[:1]).start()
for _ in range(4):
    threading.Thread(target=work).start()
"""


def answers_while_stopped(server, connection, wait):
    """Return to how many requests, each sent after SIGSTOP, the server answers before SIGCONT."""
    answers = 0
    for _ in range(TRIES):
        os.kill(server.pid, signal.SIGSTOP)
        if wait:
            os.waitpid(server.pid, os.WUNTRACED)
        connection.sendall(b"?")
        connection.settimeout(0.02)
        try:
            connection.recv(1)
            answered = True
        except TimeoutError:
            answered = False
        if not wait:
            os.waitpid(server.pid, os.WUNTRACED)
        os.kill(server.pid, signal.SIGCONT)
        connection.settimeout(10)
        if not answered:
            connection.recv(1)
        answers += answered
    return answers


with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as server:
    try:
        connection = socket.create_connection(("127.0.0.1", int(server.stdout.readline())))
        early = answers_while_stopped(server, connection, wait=False)
        stopped = answers_while_stopped(server, connection, wait=True)
    finally:
        server.kill()
print(f"Linux {platform.release()}, {os.cpu_count()} cores; requests sent after SIGSTOP that were answered before SIGCONT:")
print(f"  {early} of {TRIES} right after kill(), {stopped} of {TRIES} after waitpid(WUNTRACED)")
as_found = early > 0 and stopped == 0
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
