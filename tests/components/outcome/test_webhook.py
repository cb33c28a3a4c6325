from __future__ import annotations

import base64
import json

import pytest

from components.contracts.errors import InputError, LookalikeError
from components.outcome.webhook import find_webhook
from components.registry import events

SECRET = "projects/shop-1234/secrets/webhook"


class Session:
    """Stands for Secret Manager."""

    def __init__(self, text="", status=200):
        self.status_code, self._text, self.asked = status, text, []

    def get(self, url, timeout):
        self.asked.append(url)
        return self

    def json(self):
        return {"payload": {"data": base64.b64encode(self._text.encode()).decode()}}


def test_without_a_secret_the_environment_says(monkeypatch):
    monkeypatch.delenv(events.URL_VARIABLE, raising=False)
    assert find_webhook("") is None
    monkeypatch.setenv(events.URL_VARIABLE, "https://hook.example/x")
    assert find_webhook("").url == "https://hook.example/x"


def test_a_secret_holds_the_address_alone_or_with_a_key():
    plain = Session("https://hook.example/x\n")
    assert find_webhook(SECRET, session=plain).url == "https://hook.example/x"
    assert plain.asked == [
        f"https://secretmanager.googleapis.com/v1/{SECRET}/versions/latest:access"
    ]
    both = Session(json.dumps({"url": "https://hook.example/x", "key": "k"}))
    assert find_webhook(f"{SECRET}/versions/3", session=both).key == b"k"
    assert both.asked[0].endswith("/versions/3:access")


@pytest.mark.parametrize(
    "name", ["https://hook.example/x", "projects/p", "projects/p/secrets/../x"]
)
def test_what_is_no_secrets_name_is_refused(name):
    with pytest.raises(InputError, match="expected projects/PROJECT/secrets/SECRET"):
        find_webhook(name, session=Session())


def test_a_refusal_says_which_right_is_missing():
    with pytest.raises(LookalikeError, match=r"answers 403.*secretAccessor"):
        find_webhook(SECRET, session=Session(status=403))


def test_a_content_that_cannot_be_used_is_not_shown():
    with pytest.raises(InputError) as caught:
        find_webhook(SECRET, session=Session('{"address": "https://very-secret.example"}'))

    assert "very-secret" not in str(caught.value)
