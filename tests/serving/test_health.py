from __future__ import annotations

import http.server
import subprocess
import sys
import threading

import pytest

from serving import health


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({"/healthz": 200, "/readyz": 503}.get(self.path, 404))
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def port():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "code"), [("/healthz", 0), ("/readyz", 1), ("/elsewhere", 1)])
def test_only_200_is_healthy(port, path, code):
    assert health.main(["--port", str(port), "--path", path]) == code


def test_nobody_there_is_not_healthy(port):
    with http.server.HTTPServer(("127.0.0.1", 0), _Server) as server:
        free = server.server_address[1]

    assert health.main(["--port", str(free)]) == 1


def test_it_costs_no_import_of_the_server():
    code = (
        "import sys, serving.health; "
        "print(sorted({'fastapi', 'numpy', 'tensorflow', 'uvicorn'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
