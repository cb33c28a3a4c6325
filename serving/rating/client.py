"""Rating over HTTP, as a browser does it: for simulated raters, tests and the load benchmark.

A page is asked for, its pictures are fetched, its form is sent. Simulated raters say so in their
name, and so in every record.
"""

from __future__ import annotations

import base64
import html
import http.client
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from components.human_eval import simulated
from components.human_eval.ratings import CANT_TELL

_TOKEN = re.compile(r'name="token" value="([^"]+)"')
_PICTURE = re.compile(r'<img src="(/i/[^"]+)"')
_MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Page:
    """One answer of the server.

    Attributes:
        status: HTTP status.
        path: Where the redirects led.
        text: The page.
        seconds: From the first request to the last byte, redirects included.
    """

    status: int
    path: str
    text: str
    seconds: float

    @property
    def token(self) -> str:
        """The form's token; empty on a page that asks for nothing."""
        found = _TOKEN.search(self.text)
        return html.unescape(found[1]) if found else ""

    @property
    def pictures(self) -> list[str]:
        """Addresses of the query's and the result's picture."""
        return [html.unescape(address) for address in _PICTURE.findall(self.text)]


@dataclass
class Rater:
    """One person's browser.

    Attributes:
        link: The personal link.
        timeout_s: Longest wait for an answer, in seconds.
        seen: Called with the path and the seconds of every answer.
    """

    link: str
    timeout_s: float = 30.0
    seen: Callable[[str, float], None] | None = None
    _cookies: dict[str, str] = field(default_factory=dict)
    _connection: http.client.HTTPConnection | None = None

    def join(self) -> Page:
        """Opens the link."""
        parts = urlsplit(self.link)
        return self.ask("GET", f"{parts.path}?{parts.query}")

    def work(self) -> Page:
        """Asks for the next pair."""
        return self.ask("GET", "/rate")

    def answer(self, token: str, grade: str) -> Page:
        """Sends an answer; the page after it says what became of it."""
        return self.ask("POST", "/rate", {"token": token, "grade": grade})

    def picture(self, address: str) -> bytes:
        """Fetches a picture."""
        status, _, body = self._once("GET", address, "")
        if status != 200:
            raise ConnectionError(f"{address}: status {status}")
        return body

    def ask(self, method: str, path: str, fields: dict[str, str] | None = None) -> Page:
        """Sends one request and follows where it leads.

        Raises:
            OSError: The server is away; try again.
        """
        started = time.perf_counter()
        body = urlencode(fields or {}) if method == "POST" else ""
        for _ in range(_MOST_REDIRECTS):
            status, location, data = self._once(method, path, body)
            if status not in (302, 303, 307):
                break
            method, path, body = "GET", location, ""
        return Page(status, path, data.decode(errors="replace"), time.perf_counter() - started)

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, method: str, path: str, body: str) -> tuple[int, str, bytes]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        started = time.perf_counter()
        try:
            if self._connection is None:
                parts = urlsplit(self.link)
                self._connection = http.client.HTTPConnection(
                    parts.hostname or "", parts.port, timeout=self.timeout_s
                )
            self._connection.request(method, path, body or None, headers)
            answer = self._connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(f"{method} {path.partition('?')[0]}: {error!r}") from None
        if self.seen is not None:
            self.seen(f"{method} {path}", time.perf_counter() - started)
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self._cookies[key] = rest.partition(";")[0]
        return answer.status, answer.getheader("location") or "", data


def rate_until_done(
    rater: Rater,
    grade: Callable[[str, list[bytes]], str],
    *,
    most: int,
    think: Callable[[], float] = lambda: 0.0,
    acknowledged: Callable[[str], None] = lambda _: None,
    patience_s: float = 30.0,
) -> int:
    """Rates as long as there is work; goes on when the server comes back after a crash.

    Args:
        rater: Whose browser.
        grade: From a form's token and the two pictures to an answer.
        most: Answers after which to stop.
        think: Seconds to look at a pair.
        acknowledged: Called with the token of each answer that the server has confirmed.
        patience_s: Longest time without a server, in seconds.

    Returns:
        The answers that were confirmed.
    """
    given = 0
    token, choice = "", ""
    last_answer = time.monotonic()
    joined = False
    while given < most:
        try:
            if not joined:
                rater.join()
                joined = True
            if not choice:
                page = rater.work()
                token = page.token
                if not token:
                    return given
                choice = grade(token, [rater.picture(address) for address in page.pictures])
                time.sleep(think())
            # Sent again after a crash, the same answer is kept once.
            status, _, _ = rater._once(
                "POST", "/rate", urlencode({"token": token, "grade": choice})
            )
        except ConnectionError:
            if time.monotonic() - last_answer > patience_s:
                raise
            time.sleep(0.1)
            continue
        last_answer = time.monotonic()
        if status == 303:
            given += 1
            acknowledged(token)
            choice = ""
    return given


def simulated_grades(
    rater_id: str,
    true: Callable[[str], int],
    *,
    known_golds: Mapping[str, int],
    seed: int,
) -> Callable[[str, list[bytes]], str]:
    """Returns how a simulated rater answers forms, for `rate_until_done`.

    Args:
        rater_id: Such as `simulated:sloppy-01`: the errors are those of
            `components.human_eval.simulated`, so files and HTTP give the same answers.
        true: The true grade of a task.
        known_golds: Grades of the golds, for raters who know them.
        seed: Of all errors.
    """

    def grade(form: str, pictures: list[bytes]) -> str:
        del pictures
        task = task_of(form)
        given = simulated.look(rater_id, task, true(task), known_golds=known_golds, seed=seed).grade
        return CANT_TELL if given is None else str(given)

    return grade


def task_of(form: str) -> str:
    """Returns the task in a form's token, which is signed and not secret."""
    text = form.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["t"])
