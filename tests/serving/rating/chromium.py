"""Headless Chromium over its DevTools protocol: several people, each with cookies of their own."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1", "--remote-debugging-port=0",
)  # fmt: skip
_KEYS = {" ": ("Space", 32, " "), "Enter": ("Enter", 13, "\r"), "Backspace": ("Backspace", 8, "")}


class Browser:
    """A running Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(
        self, method: str, session: str = "", *, patience_s: float = 60.0, **parameters: Any
    ) -> dict[str, Any]:
        """Sends a command and returns its result; a page that goes away may never answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=patience_s))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def person(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> Tab:
        """Returns a tab that shares nothing with the others."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)[
            "sessionId"
        ]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable", session)
        tab.resize(width, height, dark=dark)
        return tab


class Tab:
    """One page of one person."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Gives the page a size, and its person a taste for dark or light."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        """Opens an address and waits until its pictures are there."""
        self._call("Page.navigate", url=url)
        self.settle()

    def settle(self, *, other_than: str = "") -> None:
        """Waits until a page, another than the named one, is there with its pictures."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self.script(
                    "document.readyState === 'complete' && location.href !== 'about:blank' && "
                    "[...document.images].every(i => i.complete || i.loading === 'lazy') && "
                    f"String(performance.timeOrigin) !== {json.dumps(other_than)}",
                    patience_s=5.0,
                ):
                    return
            except (RuntimeError, TimeoutError):
                pass  # The page is being replaced.
            time.sleep(0.02)
        raise TimeoutError(self.script("document.body.innerText"))

    def press(self, key: str) -> None:
        """Presses a key, and waits for the page that it leads to."""
        before = self.script("String(performance.timeOrigin)")
        self.tap(key)
        self.settle(other_than=before)

    def tap(self, key: str) -> None:
        """Presses a key, and waits for nothing."""
        code, number, text = _KEYS.get(key, (f"Key{key.upper()}", ord(key.upper()[0]), key))
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self._call("Input.dispatchKeyEvent", type="keyUp", **common)

    def script(self, text: str, *, patience_s: float = 60.0) -> Any:
        """Returns what an expression gives in the page."""
        found = self._call(
            "Runtime.evaluate", patience_s=patience_s, expression=text, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["text"])
        return found["result"].get("value")

    def text(self) -> str:
        """Returns what can be read on the page."""
        return str(self.script("document.body.innerText"))

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Writes a picture of the page."""
        options: dict[str, Any] = {"captureBeyondViewport": whole}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {
                "x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000),
                "scale": 1,
            }  # fmt: skip
        data = self._call("Page.captureScreenshot", **options)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))

    def complaints(self) -> list[str]:
        """Returns what the console says went wrong, such as a breach of the page's policy."""
        self.script("1")
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            if event.get("method") == "Log.entryAdded":
                found.append(event["params"]["entry"]["text"])
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
        return found

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)


@contextmanager
def chromium(binary: str, profile: Path) -> Iterator[Browser]:
    """Runs Chromium.

    Args:
        binary: The program.
        profile: An empty folder.

    Yields:
        The browser.
    """
    process = subprocess.Popen(
        [binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"DevTools listening on (ws://\S+)", line)
            if found:
                break
        else:
            raise RuntimeError("Chromium did not start")
        with connect(found[1], max_size=1 << 26) as socket:
            yield Browser(socket)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
