"""A real browser for tests: headless Chromium, driven over a pipe with its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/; no driver program and no port is needed.
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


class Browser:
    """One browser with one tab."""

    def __init__(self, profile: Path, *, seconds: float = 30.0) -> None:
        """Starts it.

        Args:
            profile: An empty folder.
            seconds: Longest wait for anything.
        """
        self._seconds = seconds
        self._number = 0
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
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
        (target,) = [entry for entry in self._wait_for_targets() if entry["type"] == "page"]
        self._session = self.command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def _wait_for_targets(self) -> list[dict[str, Any]]:
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            found = self._command("Target.getTargets", {}, session="")["targetInfos"]
            if any(entry["type"] == "page" for entry in found):
                return found
            time.sleep(0.1)
        raise TimeoutError("Chromium opened no page")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Does one thing; returns its answer."""
        return self._command(method, parameters, session=getattr(self, "_session", ""))

    def _command(self, method: str, parameters: dict[str, Any], *, session: str) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(self._seconds)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._receive], [], [], left)[0]:
                raise TimeoutError("Chromium did not answer")
            data = os.read(self._receive, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

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
    def loading(self) -> Any:
        """Waits until the page that is asked for inside has been loaded."""
        self.events.clear()
        yield
        end = time.monotonic() + self._seconds
        while not any(entry.get("method") == "Page.loadEventFired" for entry in self.events):
            self.events.append(self._next(max(0.0, end - time.monotonic())))

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
        text, code = _KEYS.get(key, (key, ord(key[0].upper())))
        for kind in ("keyDown", "keyUp"):
            self.command(
                "Input.dispatchKeyEvent",
                type=kind, key=key, text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode=code,
            )  # fmt: skip

    def choose_file(self, selector: str, path: Path) -> None:
        """Chooses a file in a field of the page."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path) -> None:
        """Writes a picture of the whole page."""
        data = self.command("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def complaints(self) -> list[str]:
        """Returns what the browser has complained of since the last page was asked for."""
        self.run("0")
        return [
            str(entry["params"]["entry"]["text"])
            for entry in self.events
            if entry.get("method") == "Log.entryAdded"
        ]

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
