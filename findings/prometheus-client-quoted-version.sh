#!/usr/bin/env bash
# prometheus_client 0.26.0: an Accept header with a quoted version gets "500 Internal Server Error" for the metrics.
#
# One would guess: `version=1.0.0` and `version="1.0.0"` mean the same (RFC 9110, 5.6.6: the value of a parameter is
# a token or a quoted string), and a version that the library cannot read falls back to the plain format. In fact
# the comparison of versions raises TypeError inside the WSGI application.
#
# Why it matters to a chat server: some libraries always quote parameters (Python's email.message does). The scraper
# then sees a server that is down, while it serves everybody; a try with curl or a browser shows nothing wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check prometheus_client==0.26.0
timeout 60 "$folder/venv/bin/python" - 2>"$folder/errors" <<'PYTHON' && as_found=0 || as_found=$?
import http.client
import sys
import threading
from importlib.metadata import version
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


server = make_server("127.0.0.1", 0, make_wsgi_app(), handler_class=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()


def status(accept):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": accept})
    answer = connection.getresponse()
    answer.read()
    print(f"Accept: {accept:46} {answer.status} {answer.reason}")
    return answer.status


print(f"prometheus_client {version('prometheus_client')}")
token = status("application/openmetrics-text;version=1.0.0")
quoted = status('application/openmetrics-text;version="1.0.0"')
plain = status('text/plain;version="0.0.4"')
sys.exit((token, quoted, plain) != (200, 500, 500))
PYTHON
grep Error: "$folder/errors" | sort | uniq -c || true
[ "$as_found" = 0 ] && echo "as found" || echo "not as found"
exit "$as_found"
