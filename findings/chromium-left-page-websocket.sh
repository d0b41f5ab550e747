#!/usr/bin/env bash
# Chromium 156: a page that was left by a link keeps its WebSocket open and answers the server's pings, while its
# script is frozen; each message sent meanwhile is lost, also when the user comes back to the page.
#
# One would guess: leaving the page closes the socket (code 1001), as closing the tab does; guides on the back/forward
# cache say that an open WebSocket keeps a page out of it. In fact the page goes into the cache (`pagehide` with
# persisted = true) with the connection, and pings are answered without the script. After "back" the script sees an
# open socket at `pageshow`, then its end (1006), and none of the messages.
#
# Why it matters to a chat server: people who have left are shown online, and messages to them count as sent and wake
# no other device. A ping does not tell that somebody is there: let the script acknowledge, and close at `pagehide`.
set -euo pipefail
folder=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
command -v chromium >/dev/null || { echo "needs chromium (Debian's package)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check websockets==17.4
chromium --version 2>/dev/null
mkfifo "$folder/address"
"$folder/venv/bin/python" - "$folder/address" <<'PYTHON' &
import asyncio
import sys
from urllib.parse import unquote

from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

AWAY = 12
PAGES = {
    "/chat": """<!doctype html><a href=/elsewhere>elsewhere</a><script>
        const socket = new WebSocket(`ws://${location.host}/socket`), seen = []
        socket.onmessage = event => {
            if (event.data == "leave") document.querySelector("a").click()
            else seen.push(`message ${event.data}`)
        }
        socket.onclose = event => seen.push(`close ${event.code}`)
        onpagehide = event => seen.push(`pagehide persisted=${event.persisted}`)
        onpageshow = event => {
            if (!event.persisted) return
            seen.push(`pageshow persisted=true open=${socket.readyState == WebSocket.OPEN}`)
            setTimeout(() => fetch("/seen?" + seen.join()), 3000)
        }
        </script>""",
    "/elsewhere": f"<!doctype html><script>setTimeout(() => history.back(), {AWAY * 1000})</script>",
}
EXPECTED = ["pagehide persisted=true", "pageshow persisted=true open=true", "close 1006"]
seen, answered, back = [], [], asyncio.Event()


def page(_connection, request):
    """Answer what is no WebSocket: a page, or the script's report of what it saw."""
    path, _, report = request.path.partition("?")
    if path == "/socket":
        return None
    if report:
        seen.extend(unquote(report).split(","))
        back.set()
    body = PAGES.get(path, "").encode()
    headers = Headers({"Content-Type": "text/html", "Content-Length": str(len(body)), "Connection": "close"})
    return Response(200, "OK", headers, body)


async def talk(socket):
    """Make the page leave, and send it a ping and a message each second."""
    await socket.send("leave")
    await asyncio.sleep(2)
    for number in range(AWAY - 4):
        await asyncio.wait_for(await socket.ping(), 5)
        await socket.send(f"{number}")
        answered.append(number)
        await asyncio.sleep(1)
    await socket.wait_closed()


async def main():
    async with serve(talk, "127.0.0.1", 0, process_request=page, ping_interval=None) as server:
        with open(sys.argv[1], "w") as address:
            print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/chat", file=address)
        await asyncio.wait_for(back.wait(), 45)


asyncio.run(main())
print(f"while the user was elsewhere: {len(answered)} pings answered, {len(answered)} messages sent")
print(f"the script, when the user was back, had seen: {seen}")
as_found = len(answered) == AWAY - 4 and seen == EXPECTED
print("as found" if as_found else "not as found")
sys.exit(not as_found)
PYTHON
server=$!
started+=("$server")
page=$(timeout 20 cat "$folder/address")
# --no-sandbox: Chromium refuses to start as root otherwise.
chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$folder/profile" "$page" >/dev/null 2>&1 &
started+=($!)
wait "$server"
