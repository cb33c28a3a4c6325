import http.server
import threading
import time
from urllib.parse import urlsplit

import pytest

from components.contracts.errors import SetAsideError
from components.contracts.images import BadImageError, read_image
from components.contracts.web_addresses import PRIVATE_NETWORKS, private_networks
from components.contracts.web_hosts import Hosts
from components.contracts.web_images import WebLimits, read_web

HERE = private_networks("127.0.0.0/8")
# Generous: nothing but the answers that never come waits for these.
PATIENT = WebLimits(attempt_s=60, total_s=120, first_wait_s=0.001, private_networks=HERE)
HURRIED = WebLimits(attempt_s=0.3, total_s=1, attempts=2, first_wait_s=0.001, private_networks=HERE)


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, dict(self.headers)))
        getattr(self, urlsplit(self.path).path.strip("/").replace("-", "_"))()

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ok(self):
        self.answer(200, b"picture")

    def missing(self):
        self.answer(404, b"no")

    def forbidden(self):
        self.answer(403, b"no")

    def packed(self):
        self.answer(200, b"x", Content_Encoding="gzip")

    def empty(self):
        self.answer(200)

    def shaky(self):
        if len(self.server.asked) < 3:
            self.answer(500)
        else:
            self.ok()

    def busy(self):
        if len(self.server.asked) < 2:
            self.answer(429, Retry_After="3")
        else:
            self.ok()

    def very_busy(self):
        self.answer(503, Retry_After="86400")

    def broken(self):
        self.answer(500)

    def hang(self):
        self.server.stop.wait(60)

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.pour(b"x", 0.05)

    def drip_headers(self):
        self.pour(b"H", 0.05)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        self.pour(b"x" * 65536, 0)

    def pour(self, piece, pause):
        try:
            while not self.server.stop.wait(pause):
                self.wfile.write(piece)
        except OSError:
            self.server.hung_up.set()
        self.close_connection = True

    def huge(self):
        self.answer(200, b"x", Content_Length=str(10**12))

    def cut(self):
        self.answer(200, b"half", Content_Length="8")

    def cut_once(self):
        self.cut() if len(self.server.asked) < 2 else self.ok()

    def loop(self):
        self.answer(302, Location="/loop")

    def moved(self):
        self.answer(301, Location="ok")

    def to_private(self):
        self.answer(302, Location="http://169.254.169.254/computeMetadata/v1/")

    def to_file(self):
        self.answer(302, Location="file:///etc/passwd")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


@pytest.fixture
def shop():
    with Server(("127.0.0.1", 0), Shop) as server:
        server.asked, server.stop, server.hung_up = [], threading.Event(), threading.Event()
        server.uri = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


def test_an_image_is_read_by_a_plain_get(shop):
    assert read_web(f"{shop.uri}/ok?size=big", 100, PATIENT) == b"picture"
    ((path, headers),) = shop.asked
    assert path == "/ok?size=big"
    assert headers.keys() == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
    assert headers["Host"] == shop.uri.removeprefix("http://")


@pytest.mark.parametrize(
    ("page", "reason", "said", "requests"),
    [
        ("missing", "missing_image", "HTTP 404", 1),
        ("forbidden", "unreadable_image", "HTTP 403", 1),
        ("packed", "unreadable_image", "encoding 'gzip'", 1),
        ("broken", "unreachable_image", r"HTTP 500 \(tried 4 times\)", 4),
        ("very-busy", "unreachable_image", r"HTTP 503 \(tried 1 times\)", 1),
        ("cut", "unreachable_image", "4 of 8 bytes", 4),
        ("huge", "too_many_bytes", "at most 100 bytes", 1),
        ("endless", "too_many_bytes", "at most 100 bytes", 1),
        ("loop", "unreadable_image", "at most 5 redirects", 6),
        ("to-private", "refused_address", r"169\.254\.169\.254", 1),
        ("to-file", "refused_address", r"received file", 1),
    ],
)
def test_what_cannot_be_had_is_set_aside_with_its_reason(shop, page, reason, said, requests):
    with pytest.raises(SetAsideError, match=said) as error:
        read_web(f"{shop.uri}/{page}", 100, PATIENT)
    assert error.value.reason == reason
    assert len(shop.asked) == requests


@pytest.mark.parametrize(("page", "requests"), [("shaky", 3), ("cut-once", 2), ("moved", 2)])
def test_what_passes_is_tried_again(shop, page, requests):
    assert read_web(f"{shop.uri}/{page}", 100, PATIENT) == b"picture"
    assert len(shop.asked) == requests


def test_the_server_says_how_long_to_wait(shop):
    waits = []
    assert read_web(f"{shop.uri}/busy", 100, PATIENT, sleep=waits.append) == b"picture"
    assert len(waits) == 1
    assert 3 <= waits[0] <= 3.001


@pytest.mark.parametrize("page", ["hang", "drip", "drip-headers"])
def test_a_server_that_does_not_end_is_left(shop, page):
    with pytest.raises(SetAsideError, match="did not answer in time") as error:
        read_web(f"{shop.uri}/{page}", 10_000, HURRIED)
    assert error.value.reason == "unreachable_image"


def test_an_endless_answer_is_hung_up_on(shop):
    with pytest.raises(SetAsideError):
        read_web(f"{shop.uri}/endless", 1000, PATIENT)
    assert shop.hung_up.wait(30)


def test_nobody_there_is_unreachable(shop):
    port = shop.server_port
    shop.shutdown()
    shop.socket.close()
    with pytest.raises(SetAsideError, match="cannot be reached") as error:
        read_web(f"http://127.0.0.1:{port}/ok", 100, PATIENT)
    assert error.value.reason == "unreachable_image"


def test_a_server_that_is_down_is_not_asked_for_each_image(shop):
    hosts = Hosts()
    for _ in range(30):
        with pytest.raises(SetAsideError) as error:
            read_web(f"{shop.uri}/broken", 100, PATIENT, sleep=lambda _: None, hosts=hosts)
        assert error.value.reason == "unreachable_image"
    assert "gave none of the 20 images before it" in str(error.value)
    assert len(shop.asked) == 20 * PATIENT.attempts


def test_a_server_that_says_no_is_there(shop):
    hosts = Hosts()
    for page in ("broken", "missing"):
        for _ in range(19):
            with pytest.raises(SetAsideError):
                read_web(f"{shop.uri}/{page}", 100, PATIENT, sleep=lambda _: None, hosts=hosts)
    for _ in range(5):
        with pytest.raises(SetAsideError, match="tried 4 times"):
            read_web(f"{shop.uri}/broken", 100, PATIENT, sleep=lambda _: None, hosts=hosts)


def test_tls_with_who_speaks_none_is_unreachable(shop):
    with pytest.raises(SetAsideError) as error:
        read_web(shop.uri.replace("http:", "https:") + "/ok", 100, HURRIED)
    assert error.value.reason == "unreachable_image"


def test_this_machine_is_refused_unless_the_environment_names_it(shop, monkeypatch):
    monkeypatch.delenv(PRIVATE_NETWORKS, raising=False)
    with pytest.raises(BadImageError) as error:
        read_image(f"{shop.uri}/ok")
    assert error.value.reason == "refused_address"
    assert shop.asked == []
    monkeypatch.setenv(PRIVATE_NETWORKS, "127.0.0.0/8")
    assert read_image(f"{shop.uri}/ok") == b"picture"
    with pytest.raises(BadImageError) as error:
        read_image(f"{shop.uri}/empty")
    assert error.value.reason == "empty_image"


def test_a_name_is_asked_for_once_and_the_connection_goes_to_the_checked_address(shop, monkeypatch):
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(2, 1, 6, "", (address, port))]

    connected = []
    connect = __import__("socket").create_connection
    monkeypatch.setattr("socket.getaddrinfo", resolve)
    monkeypatch.setattr(
        "socket.create_connection",
        lambda address, **kw: connected.append(address) or connect_to(address, kw),
    )

    def connect_to(address, kw):
        monkeypatch.undo()
        return connect(address, **kw)

    start = time.monotonic()
    assert read_web(f"http://shop.example:{shop.server_port}/ok", 100, PATIENT) == b"picture"
    assert time.monotonic() - start < 60
    assert asked == ["shop.example"]
    assert connected == [("127.0.0.1", shop.server_port)]
    assert shop.asked[0][1]["Host"] == f"shop.example:{shop.server_port}"
