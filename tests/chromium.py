"""A real browser for tests: headless Chromium, driven over a pipe with its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/; no driver program and no port is needed.
A `Browser` is its first tab; `Browser.person` opens another, with cookies of its own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1", "--remote-debugging-pipe",
    "--disable-extensions", "--mute-audio", "--disable-dev-shm-usage",
)  # fmt: skip
_KEYS = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27), " ": (" ", 32)}


class _Pipe:
    """A running Chromium, and what it says: answers to commands, and each tab's events."""

    def __init__(self, profile: Path, seconds: float) -> None:
        self.seconds = seconds
        self.events: dict[str, list[dict[str, Any]]] = {}
        self._number = 0
        self._buffer = b""
        from_us, self._send = os.pipe()
        self._receive, to_us = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        self._process = subprocess.Popen(
            [
                "bash", "-c", f'exec "$0" "$@" 3<&{from_us} 4>&{to_us}', str(CHROMIUM), *_FLAGS,
                f"--user-data-dir={profile}", "about:blank",
            ],
            pass_fds=(from_us, to_us),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)

    def send(self, method: str, parameters: dict[str, Any], session: str) -> int:
        """Sends a command and returns its number."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        return self._number

    def command(self, method: str, parameters: dict[str, Any], session: str) -> dict[str, Any]:
        """Sends a command and returns its answer."""
        number = self.send(method, parameters, session)
        end = time.monotonic() + self.seconds
        while True:
            answer = self.next(end)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def next(self, end: float) -> dict[str, Any]:
        """Returns the next message, having noted it if it is a tab's event."""
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._receive], [], [], left)[0]:
                raise TimeoutError("Chromium did not answer")
            data = os.read(self._receive, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = dict(json.loads(text))
        if "method" in message:
            self.events.setdefault(message.get("sessionId", ""), []).append(message)
        return message

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for descriptor in (self._send, self._receive):
            with contextlib.suppress(OSError):
                os.close(descriptor)


class Tab:
    """One page of one person."""

    def __init__(self, pipe: _Pipe, target: str) -> None:
        """Takes hold of a page.

        Args:
            pipe: The browser.
            target: The page, as the browser calls it.
        """
        self._pipe = pipe
        self._seconds = pipe.seconds
        self._session = ""
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        self._page_from = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    @property
    def events(self) -> list[dict[str, Any]]:
        """What has happened in this tab."""
        return self._pipe.events.setdefault(self._session, [])

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Does one thing; returns its answer."""
        return self._pipe.command(method, parameters, self._session)

    def size(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Sets the window's size and the colours that the visitor prefers."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.command(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def open(self, url: str) -> None:
        """Opens a page and waits until it is loaded."""
        with self.loading():
            self.command("Page.navigate", url=url)

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Waits until the page that is asked for inside has been loaded, pictures included."""
        self._page_from = len(self.events)
        yield
        end = time.monotonic() + self._seconds
        while not any(
            entry["method"] == "Page.loadEventFired" for entry in self.events[self._page_from :]
        ):
            self._pipe.next(end)

    def run(self, script: str) -> Any:
        """Returns the value of an expression in the page; waits for a promise."""
        answer = self.command(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Waits until an expression is true; returns its value."""
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise TimeoutError(script)

    def type(self, text: str) -> None:
        """Types into whatever has the focus."""
        self.command("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Presses and lets go of a key, such as `Enter`, `Tab` or a letter."""
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", **_stroke(kind, key))

    def follow(self, key: str) -> None:
        """Presses a key and waits for the page that it leads to."""
        with self.loading():
            # Not waited for: a page that is being replaced may never answer.
            self._pipe.send("Input.dispatchKeyEvent", _stroke("keyDown", key), self._session)
        self.command("Input.dispatchKeyEvent", **_stroke("keyUp", key))

    def choose_file(self, selector: str, path: Path) -> None:
        """Chooses a file in a field of the page."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path) -> None:
        """Writes a picture of the whole page."""
        data = self.command("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def text(self) -> str:
        """Returns what can be read on the page."""
        return str(self.run("document.body.innerText"))

    def complaints(self, *, ever: bool = False) -> list[str]:
        """Returns what the browser has complained of since the last page was asked for.

        Args:
            ever: Of all pages of this tab instead, with errors of scripts.
        """
        self.run("0")
        found = []
        for entry in self.events[0 if ever else self._page_from :]:
            if entry["method"] == "Log.entryAdded":
                found.append(str(entry["params"]["entry"]["text"]))
            elif ever and entry["method"] == "Runtime.exceptionThrown":
                found.append(str(entry["params"]["exceptionDetails"]))
        return found


class Browser(Tab):
    """A browser, and its first tab."""

    def __init__(self, profile: Path, *, seconds: float = 60.0) -> None:
        """Starts it.

        Args:
            profile: An empty folder.
            seconds: Longest wait for anything.
        """
        pipe = _Pipe(profile, seconds)
        try:
            super().__init__(pipe, _first_page(pipe))
        except BaseException:
            pipe.close()
            raise

    def person(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> Tab:
        """Returns a tab that shares no cookies with the others."""
        context = self._pipe.command("Target.createBrowserContext", {}, "")["browserContextId"]
        made = {"url": "about:blank", "browserContextId": context}
        tab = Tab(self._pipe, self._pipe.command("Target.createTarget", made, "")["targetId"])
        tab.size(width, height, dark=dark)
        return tab

    def close(self) -> None:
        """Ends it, with all its tabs."""
        self._pipe.close()


def _first_page(pipe: _Pipe) -> str:
    end = time.monotonic() + pipe.seconds
    while time.monotonic() < end:
        for entry in pipe.command("Target.getTargets", {}, "")["targetInfos"]:
            if entry["type"] == "page":
                return str(entry["targetId"])
        time.sleep(0.1)
    raise TimeoutError("Chromium opened no page")


def _stroke(kind: str, key: str) -> dict[str, Any]:
    text, code = _KEYS.get(key, (key, ord(key[0].upper())))
    return {
        "type": kind, "key": key, "text": text if kind == "keyDown" else "",
        "windowsVirtualKeyCode": code,
    }  # fmt: skip
