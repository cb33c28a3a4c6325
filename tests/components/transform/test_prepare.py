"""Images on the web, through a whole run: what cannot be had costs only itself."""

import http.server
import struct
import threading
import zlib
from dataclasses import replace

import pytest

from components.contracts import catalog
from components.contracts.web_addresses import private_networks
from components.contracts.web_images import WebLimits
from components.transform.config import TransformConfig
from components.transform.transform import transform_examples

from .conftest import encode, make_checked, product, products_of

PICTURE = encode(product())
PAGE = b"<!doctype html><p>Please sign in"
CONFIG = TransformConfig(
    stored_size=16, max_reject_share=1, max_image_bytes=100_000, workers=1, unseen_fraction=0.25
)
# Only the answer that never comes waits for these.
LIMITS = WebLimits(
    attempt_s=5, total_s=5, attempts=1, private_networks=private_networks("127.0.0.1/32")
)


def bomb():
    """A PNG of a few bytes that says of itself that it has 2.5 thousand million pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    # After the signature and the length: the header's 17 bytes, then their checksum.
    return PICTURE[:12] + header + struct.pack(">I", zlib.crc32(header)) + PICTURE[33:]


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.close_connection = True
        getattr(self, self.path.strip("/").replace("-", "_"))()

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, address):
        self.send_response(302)
        self.send_header("Location", address)
        self.end_headers()

    def good(self):
        self.answer(PICTURE, "image/png")

    def good_but_called_text(self):
        self.answer(PICTURE, "text/plain")

    def page_called_image(self):
        self.answer(PAGE, "image/png")

    def bomb(self):
        self.answer(bomb(), "image/png")

    def hangs(self):
        self.server.stop.wait(60)

    def to_private(self):
        self.redirect("http://169.254.169.254/latest/meta-data/")

    def round_and_round(self):
        self.redirect("/round-and-round")

    def endless(self):
        try:
            self.answer(b"", "image/png")
            while not self.server.stop.is_set():
                self.wfile.write(PICTURE * 100)
        except OSError:
            self.server.hung_up.set()

    def log_message(self, *_):
        pass


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(WebLimits, "from_environment", lambda: LIMITS)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.stop, server.hung_up = threading.Event(), threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


BAD = {
    "page-called-image": ("not_an_image", "expected"),
    "bomb": ("too_many_pixels", "50000"),
    "hangs": ("unreachable_image", "within 5 s"),
    "to-private": ("refused_address", "169.254.169.254"),
    "round-and-round": ("unreadable_image", "at most 5 redirects"),
    "endless": ("too_many_bytes", "100000"),
}
GOOD = {"good", "good-but-called-text", "on-disk"}


def test_each_bad_address_is_a_dead_letter_with_its_reason_and_the_run_ends(web, tmp_path):
    trained = products_of("train")
    # As the catalog step saw them: a server that gave an image then may do otherwise now.
    images = {"page-called-image": PAGE, "bomb": bomb()}
    checked = make_checked(
        tmp_path,
        {
            name: (images.get(name, PICTURE), "sofa", trained[number])
            for number, name in enumerate([*sorted(GOOD), *BAD])
        },
    )
    here = f"http://127.0.0.1:{web.server_port}"
    file = checked / catalog.ITEMS_FILE
    items = [
        item if item.item_id == "on-disk" else replace(item, image=f"{here}/{item.item_id}")
        for item in catalog.read_items(file)
    ]
    catalog.write_items(file, items)
    figures = transform_examples(
        checked=checked,
        mode="scratch",
        config=CONFIG,
        examples=tmp_path / "examples",
        transform_graph=tmp_path / "graph",
        report=tmp_path / "report.html",
    )
    dead = {
        reject.key: reject
        for reject in catalog.read_rejects(tmp_path / "examples/dead_letters.jsonl")
    }
    page = (tmp_path / "report.html").read_text()
    assert {name: reject.reason for name, reject in dead.items()} == {
        name: reason for name, (reason, _) in BAD.items()
    }
    for name, (reason, said) in BAD.items():
        assert f"{here}/{name}" in dead[name].detail
        assert said in dead[name].detail
        assert reason in page
    assert figures["train_examples"] == len(GOOD)
    # Not read to an end that never comes.
    assert web.hung_up.wait(60)
