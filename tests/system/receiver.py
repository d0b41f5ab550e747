"""A receiver of webhooks: ``python receiver.py PORT JOURNAL STATUS``.

Writes each request to the file JOURNAL, a JSON object a line, before it is answered with the status that the
file STATUS holds at that moment (200 without one); a second line follows the answer.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    """Takes POSTs."""

    journal: Path
    status: Path
    lock = threading.Lock()

    def do_POST(self) -> None:
        """Write it down, then answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = int(self.status.read_text() or 200) if self.status.exists() else 200
        line = {"path": self.path, "headers": headers, "body": body.decode(), "status": status}
        self.note("got", line)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.wfile.flush()
        self.note("answered", {"id": headers.get("webhook-id"), "status": status})

    def note(self, what: str, line: dict[str, object]) -> None:
        """Write a line to the journal."""
        with self.lock, self.journal.open("a") as journal:
            journal.write(json.dumps({"what": what, **line}) + "\n")

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def main() -> None:
    """Serve until killed."""
    port, journal, status = sys.argv[1:]
    Receiver.journal, Receiver.status = Path(journal), Path(status)
    with ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
