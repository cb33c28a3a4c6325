"""What happened to a channel, told to whoever listens: one JSON line, and a signed POST.

A hook is told after the move has been made, and nothing that befalls the hook changes the move or
the exit code of whoever made it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.registry.channel import Move

URL_VARIABLE = "LOOKALIKE_WEBHOOK_URL"
KEY_VARIABLE = "LOOKALIKE_WEBHOOK_KEY_FILE"
SIGNATURE_HEADER = "X-Lookalike-Signature"
TIME_HEADER = "X-Lookalike-Timestamp"
EVENT_KINDS = ("promote", "rollback", "freeze", "unfreeze")
SCHEMA = 1


@dataclass(frozen=True)
class Webhook:
    """Where events are posted.

    Attributes:
        url: An http or https address; secret, since many hooks carry their key in it.
        key: What to sign with; None sends no signature.
        tries: How often to try.
        timeout_s: For one try, in seconds.
        pause_s: Before the second try, in seconds; doubled each time.
    """

    url: str
    key: bytes | None = None
    tries: int = 3
    timeout_s: float = 3.0
    pause_s: float = 0.5


def event(registry: str, channel: str, move: Move) -> dict[str, Any]:
    """Returns the event that tells of a move."""
    return {
        "schema": SCHEMA,
        "event": f"lookalike.channel.{move.kind}",
        "registry": registry,
        "channel": channel,
        **move.to_json(),
    }


def to_line(value: dict[str, Any]) -> str:
    """Returns an event as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)


def sign(key: bytes, timestamp: str, body: bytes) -> str:
    """Returns the signature header: HMAC-SHA256 over the timestamp, a dot and the body."""
    digest = hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def announce(value: dict[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> str:
    """Posts an event to the webhook that the environment names, if it names one.

    Returns:
        What went wrong, in one line; empty when nothing did. Never raises: the move has been made.
    """
    try:
        hook = webhook_from_environment()
        return "" if hook is None else post(hook, value, sleep=sleep)
    except Exception as error:
        # Whatever it is: a hook must never fail the move.
        return f"webhook: {type(error).__name__}"


def announce_soon(value: dict[str, Any], *, wait_s: float = 3.0) -> str:
    """Does as `announce`, in a process of its own that may outlive this one.

    Whoever types a command at 3 a.m. does not sit through a dead hook's retries.

    Args:
        value: The event.
        wait_s: How long to wait for the outcome, in seconds; the tries go on after it.

    Returns:
        What went wrong, or that it is not known yet; empty when the hook was told, or is none.
    """
    if not os.environ.get(URL_VARIABLE):
        return ""
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "components.registry.events"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
    except OSError as error:
        return f"webhook: {type(error).__name__}; the move itself is made"
    try:
        said, _ = process.communicate(to_line(value), timeout=wait_s)
    except subprocess.TimeoutExpired:
        _left_behind.append(process)
        return f"webhook: no answer in {wait_s:g} s, still trying in the background"
    if process.returncode:
        return "webhook: could not be told; the move itself is made"
    return said.strip()


# Not waited for; kept so that Python does not complain of a process that it forgot.
_left_behind: list[subprocess.Popen[str]] = []


def post(
    hook: Webhook,
    value: dict[str, Any],
    *,
    sleep: Callable[[float], None] = time.sleep,
    about: str = "the move itself is made",
) -> str:
    """Posts an event.

    Args:
        hook: Where to.
        value: The event.
        sleep: What waits between tries.
        about: What a hook that is not told does not change, in words.

    Returns:
        What went wrong, in one line without the address's secrets; empty when it was delivered.
    """
    # Loaded here: most commands have no hook to tell.
    import http.client  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    parts = urlsplit(hook.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"webhook: {URL_VARIABLE}: expected an http or https address"
    body = to_line(value).encode()
    timestamp = str(int(time.time()))
    headers = {"Content-Type": "application/json", TIME_HEADER: timestamp}
    if hook.key is not None:
        headers[SIGNATURE_HEADER] = sign(hook.key, timestamp, body)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    problem = ""
    for number in range(hook.tries):
        if number:
            sleep(hook.pause_s * 2 ** (number - 1))
        connection = kind(parts.hostname, parts.port, timeout=hook.timeout_s)
        try:
            connection.request("POST", path, body=body, headers=headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            problem = type(error).__name__
        else:
            if 200 <= status < 300:
                return ""
            problem = f"status {status}"
            if 400 <= status < 500 and status not in (408, 429):
                break
        finally:
            connection.close()
    return f"webhook: {parts.hostname} was not told ({problem}); {about}"


def webhook_from_environment() -> Webhook | None:
    """Returns the webhook that the environment names; None when it names none.

    Raises:
        OSError: The file with the key cannot be read.
    """
    url = os.environ.get(URL_VARIABLE, "")
    if not url:
        return None
    name = os.environ.get(KEY_VARIABLE, "")
    return Webhook(url, Path(name).read_bytes().strip() if name else None)


if __name__ == "__main__":
    print(announce(json.loads(sys.stdin.readline())), flush=True)
