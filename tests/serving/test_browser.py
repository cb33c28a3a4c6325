"""The pages in a real browser: by keyboard, on a phone, in the dark, and with nothing blocked.

Pictures of them go to `$LOOKALIKE_SCREENSHOTS`, where it is set, for people to look at.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from components.registry.registry import Registry
from serving.app import create_app
from serving.engine import Engine
from serving.identity.config import AccessConfig
from serving.settings import Settings
from tests.chromium import CHROMIUM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
TOKEN = "browser-token-0123456789"
SIZES = {"desk": (1200, False), "phone": (390, False), "dark": (1200, True)}


class Site:
    """A server on loopback and a browser that looks at it."""

    def __init__(self, root: Path, engine: Engine, uri: str):
        (root / "tokens").write_text(f"ada operate {TOKEN}\n")
        settings = Settings(
            registry=uri,
            channel="prod",
            images=True,
            access=AccessConfig(token_file=root / "tokens"),
        )
        self.registry = Registry.open(uri)
        self.app = create_app(engine, settings)
        self.server = uvicorn.Server(
            uvicorn.Config(self.app, port=0, log_config=None, lifespan="off", ws="none")
        )
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        end = time.monotonic() + 20
        while not self.server.started and time.monotonic() < end:
            time.sleep(0.05)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.browser = Browser(root / "profile")

    def open(self, path: str) -> None:
        self.browser.open(self.url + path)

    def sign_in(self) -> None:
        self.open("/console")
        if self.browser.run("location.pathname") == "/login":
            self.browser.until("document.activeElement.id === 'token'")
            self.browser.type(TOKEN)
            with self.browser.loading():
                self.browser.press("Enter")

    def close(self) -> None:
        self.browser.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.app.state.service.close()
        self.app.state.console.close()


@pytest.fixture(scope="module")
def site(module_maker, tmp_path_factory, make_verdict):
    root = tmp_path_factory.mktemp("browser")
    uri = str(root / "registry")
    registry = Registry.open(uri)
    engine = Engine()
    for version in ("20261120-old", "20261121-live", "20261122-next"):
        loaded = module_maker.loaded(version)
        registry.publish_bundle(module_maker.root / "bundles" / version)
        if version != "20261122-next":
            engine.swap(loaded)
            registry.move("prod", to=version, who="pipeline", why="daily run")
    digest = registry.manifest("20261122-next")[1]
    for gate in ("offline", "human"):
        registry.write_verdict(
            make_verdict(gate, "20261122-next", digest, incumbent="20261121-live")
        )
    made = Site(root, engine, uri)
    yield made
    made.close()


def look(site, name, size):
    """Checks that the page as it stands fits and that nothing of it was blocked; pictures it."""
    browser = site.browser
    width, dark = SIZES[size]
    browser.size(width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark
    assert not [text for text in browser.complaints() if "Content Security" in text]
    if folder := os.environ.get("LOOKALIKE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.size(width, browser.run("document.documentElement.scrollHeight"), dark=dark)
        browser.screenshot(Path(folder) / f"{name}-{size}.png")
        browser.size(width, dark=dark)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("search", "/"),
        ("search-item", "/?item=red1"),
        ("search-words", "/?q=red"),
        ("search-compare", "/?item=red1&compare=20261120-old"),
        ("console", "/console"),
        ("console-channel", "/console/channels/prod"),
        ("console-version", "/console/versions/20261122-next"),
        ("console-compare", "/console/compare?a=20261121-live&b=20261122-next"),
        ("console-promote", "/console/channels/prod/promote?version=20261122-next"),
    ],
)
def test_every_page_fits_every_screen_and_nothing_of_it_is_blocked(site, name, path, size):
    site.sign_in()
    site.browser.size(*SIZES[size][:1], dark=SIZES[size][1])
    site.open(path)
    look(site, name, size)


def test_a_photo_is_sent_at_once_and_stays_while_the_filter_changes(site, maker, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(maker.png((220, 40, 40), (64, 64)))
    browser = site.browser
    browser.size(1200)
    site.open("/")
    browser.choose_file("#photo", photo)
    browser.until("!!document.querySelector('.query')")
    first = browser.run("document.querySelector('ol .card b').textContent")
    assert "red" in first
    assert "PNG, 64 × 64" in browser.run("document.querySelector('.query').textContent")
    everything = browser.run("document.querySelectorAll('ol .card').length")
    browser.run(
        "(() => { const list = document.querySelector('select[name=department]');"
        "list.value = 'lamp'; list.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    browser.until(f"document.querySelectorAll('ol .card').length < {everything}")
    assert "PNG, 64 × 64" in browser.run("document.querySelector('.query').textContent")
    paths = browser.run("[...document.querySelectorAll('ol .path')].map(e => e.textContent)")
    assert paths
    assert set(paths) == {"Lamps"}
    look(site, "search-photo", "desk")


def test_words_lead_to_an_item_by_keyboard_alone(site):
    browser = site.browser
    browser.size(1200)
    site.open("/")
    browser.run("document.querySelector('input[name=q]').focus()")
    browser.type("green")
    with browser.loading():
        browser.press("Enter")
    assert browser.run("new URL(location).searchParams.get('q')") == "green"
    browser.run("document.querySelector('main .grid a.card').focus()")
    with browser.loading():
        browser.press("Enter")
    assert browser.run("new URL(location).searchParams.get('item')").startswith("green")
    assert browser.run("document.querySelectorAll('ol .card').length") >= 3


def test_another_picture_can_be_asked_for_by_dragging_its_card(site):
    browser = site.browser
    site.open("/")
    link = browser.run("document.querySelector('.pick a').href")
    with browser.loading():
        browser.run(
            "(() => { const bag = new DataTransfer();"
            f"bag.setData('text/uri-list', {link!r});"
            "const drop = new DragEvent('drop', {dataTransfer: bag, bubbles: true});"
            "document.dispatchEvent(drop); })()"
        )
    assert browser.run("location.href") == link


def test_a_promotion_and_a_rollback_by_keyboard(site):
    browser = site.browser
    browser.size(390)
    site.sign_in()
    site.open("/console/channels/prod/promote?version=20261122-next")
    # The reason has the focus: nothing but typing is needed.
    browser.until("document.activeElement.id === 'reason'")
    browser.type("autumn range")
    with browser.loading():
        browser.press("Enter")
    assert "would be live" in browser.run("document.querySelector('main').textContent")
    look(site, "console-promote-review", "phone")
    browser.run("document.querySelector('form.act button').focus()")
    with browser.loading():
        browser.press("Enter")
    assert "Done:" in browser.run("document.querySelector('main').textContent")
    look(site, "console-promote-done", "phone")
    assert site.registry.channel("prod").live == "20261122-next"
    assert site.registry.channel("prod").held[0].who == "ada (console)"
    site.open("/console/channels/prod/rollback")
    browser.run("document.querySelector('#reason').focus()")
    browser.type("sofas answer with lamps")
    with browser.loading():
        browser.press("Enter")
    look(site, "console-rollback-review", "dark")
    with browser.loading():
        browser.run("document.querySelector('form.act button').click()")
    assert site.registry.channel("prod").live == "20261121-live"


def test_signing_out_ends_it(site):
    site.sign_in()
    site.open("/console")
    with site.browser.loading():
        site.browser.run("document.querySelector('.who button').click()")
    site.open("/console")
    assert site.browser.run("location.pathname") == "/login"
    look(site, "login", "phone")
