"""Where the notification goes: an address from the environment, or from Secret Manager.

On Kubernetes a secret becomes an environment variable of the task; a Vertex AI pipeline cannot do
that, so there the task reads the secret itself, with its own service account. The address is
never a parameter: parameters are shown in the UI and kept for ever.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from components.registry.events import Webhook, webhook_from_environment

_SECRET = re.compile(r"projects/[a-z0-9:.-]+/secrets/[A-Za-z0-9_-]+(/versions/[A-Za-z0-9_-]+)?")
_TIMEOUT_S = 10.0


def check_secret(secret: str, name: str = "notify_webhook_secret") -> None:
    """Refuses what names no secret of Secret Manager; empty names none, and may.

    Raises:
        InputError: It is something else. What it is is not said: it may be the address itself.
    """
    if secret and not _SECRET.fullmatch(secret):
        raise InputError(
            f"{name}: expected projects/PROJECT/secrets/SECRET or nothing, received "
            f"{len(secret)} characters that are no such name (they are not shown: an address is "
            "a secret)"
        )


def find_webhook(secret: str, *, session: Any = None) -> Webhook | None:
    """Returns where to post; None when nobody wants to be told.

    Args:
        secret: A Secret Manager resource, `projects/P/secrets/S`; empty for the environment. It
            holds the address, or a JSON object with `url` and `key`.
        session: What asks Secret Manager, as `requests.Session`; made from the task's own
            credentials when left out.

    Raises:
        InputError: The name or the content cannot be used.
        LookalikeError: Secret Manager does not hand it out.
    """
    if not secret:
        return webhook_from_environment()
    check_secret(secret)
    name = secret if "/versions/" in secret else f"{secret}/versions/latest"
    answer = (session or _session()).get(
        f"https://secretmanager.googleapis.com/v1/{name}:access", timeout=_TIMEOUT_S
    )
    if answer.status_code != 200:
        raise LookalikeError(
            f"{secret}: Secret Manager answers {answer.status_code}; the task's service account "
            "needs roles/secretmanager.secretAccessor on it"
        )
    try:
        text = base64.b64decode(answer.json()["payload"]["data"]).decode().strip()
        value = json.loads(text) if text.startswith("{") else {"url": text}
        url, key = value["url"], value.get("key", "")
    except (ValueError, KeyError, TypeError):
        # Without the cause: its text may hold the secret.
        raise InputError(f"{secret}: expected an address, or JSON with url and key") from None
    return Webhook(url, key.encode() if key else None)


def _session() -> Any:
    import google.auth  # noqa: PLC0415 - only where a secret is named
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415

    scope = "https://www.googleapis.com/auth/cloud-platform"
    credentials, _ = google.auth.default(scopes=[scope])
    return AuthorizedSession(credentials)
