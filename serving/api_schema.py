"""What `/openapi.json` tells beyond the routes' own parameters: refusals, and who may do what."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from components.promote import operations
from serving.identity import iap
from serving.identity.config import AccessConfig
from serving.problems import MEDIA_TYPE, Document
from serving.routes.interface import refusals

DESCRIPTION = """Similar items and search by photo.

Every answer names the version that gave it in the header `X-Lookalike-Bundle`. A request may carry
`X-Request-ID`, taken over into answer and log; `X-Lookalike-Key`, such as a hashed shopper id, by
which a canary's share of the requests is chosen; and `X-Request-Timeout-Ms`, after which nobody
waits for the answer any more. Every refusal of the API is a problem document (RFC 9457) with a
`reason` to switch on.
"""
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PAGE = {"text/html": {"schema": {"type": "string"}}}
# Reached by everybody, whether searching is open or not.
_OPEN = frozenset(("/healthz", "/readyz", "/version"))
ACTION_PATH = "/console/channels/{channel}/{kind}"


def install(app: FastAPI, config: AccessConfig, *, session_cookie: str) -> None:
    """Makes an app describe itself with its refusals and its security.

    Args:
        app: The app, with all its routes.
        config: Who may do what.
        session_cookie: Name of the cookie that a browser's session is in.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app, config, session_cookie)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _schema(app: FastAPI, config: AccessConfig, session_cookie: str) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    # The framework's own shape of a refusal, which no route of ours answers with.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Document.model_json_schema()
    schemes = _security_schemes(config, session_cookie)
    schema["components"]["securitySchemes"] = schemes
    anyone: list[dict[str, list[str]]] = [{name: []} for name in schemes]
    schema["paths"][ACTION_PATH] = {"post": _action()}
    for path, operations_of in schema["paths"].items():
        for operation in operations_of.values():
            responses = operation["responses"]
            if "HTTPValidationError" in str(responses.get("422")):
                del responses["422"]
            protected = "401" in responses
            if not protected and not config.open_search and path not in _OPEN:
                responses.update({str(key): one for key, one in refusals(401, 403).items()})
                protected = True
            if protected:
                operation["security"] = anyone
    return schema


def _security_schemes(config: AccessConfig, session_cookie: str) -> dict[str, Any]:
    schemes: dict[str, Any] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of the server's token file.",
        },
        "iap": {
            "type": "apiKey",
            "in": "header",
            "name": iap.HEADER,
            "description": "The assertion that Google's Identity-Aware Proxy signs and adds.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": session_cookie,
            "description": "The session of a browser that signed in at `/login`; what it changes "
            "must come from this server's own page.",
        },
    }
    if config.identity_header:
        schemes["proxy"] = {
            "type": "apiKey",
            "in": "header",
            "name": config.identity_header,
            "description": "Who asks, as a trusted proxy says; believed from nobody else.",
        }
    return schemes


def _action() -> dict[str, Any]:
    """Returns the console's form that moves a channel; it is read by hand, as all pages are."""
    fields = {
        "form": "The token that the form was made with, for this browser and this person.",
        "version": "What to promote, to roll back to, or to quarantine.",
        "reason": "Why; it stands in the history.",
        "expected_live": "What was live when the form was made: nobody undoes what is newer.",
        "step": "`confirm` does it; without it is only shown what would be done.",
        "force": "`yes` overrides gates.",
        "typed": "The channel's name, where gates are overridden.",
    }
    properties = {
        name: {"type": "string", "description": description} for name, description in fields.items()
    }
    body = {"schema": {"type": "object", "properties": properties, "required": ["form"]}}
    trouble = "A page that says why nothing was changed."
    pages = {
        "200": {"description": "A page that shows what would be done.", "content": _PAGE},
        "303": {"description": "Done; leads to the channel's page."},
        **{str(code): {"description": trouble, "content": _PAGE} for code in (400, 404, 409)},
        **{str(code): {"description": trouble, "content": _PAGE} for code in (413, 415, 422)},
        "403": {"description": trouble, "content": _PAGE | _PROBLEM},
        "503": {"description": trouble, "content": _PAGE | _PROBLEM},
    }
    return {
        "summary": "Move A Channel",
        "description": "The console's form: promote, roll back, freeze, unfreeze, quarantine or "
        "release. It is for browsers; programs use `lookalike index`.",
        "operationId": "console_action",
        "parameters": [
            {"name": "channel", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "kind",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": list(operations.KINDS)},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": body},
        },
        "responses": {
            **{str(key): one for key, one in refusals(401, 429).items()},
            **pages,
        },
    }
