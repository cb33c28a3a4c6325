"""The options of `lookalike serve` for who may do what: each is an environment variable, too.

No option takes a secret, since command lines can be read by everybody on the machine: secrets are
in files that options name, or in `LOOKALIKE_TOKEN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import click

Command = Callable[..., Any]
_FILE = click.Path(dir_okay=False)
# Name of the parameter: its option, its variable, its type, and its help.
_OPTIONS: dict[str, tuple[str, str, Any, str]] = {
    "token_file": (
        "--token-file", "LOOKALIKE_TOKEN_FILE", _FILE,
        "Names, rights and secrets of who may act, one a line.",
    ),
    "session_key_file": (
        "--session-key-file", "LOOKALIKE_SESSION_KEY_FILE", _FILE,
        "At least 32 bytes that cookies are signed with, where several servers share an address.",
    ),
    "session_hours": (
        "--session-hours", "LOOKALIKE_SESSION_HOURS", click.FloatRange(min=0, min_open=True),
        "How long a browser stays signed in.  [default: 12]",
    ),
    "identity_header": (
        "--identity-header", "LOOKALIKE_IDENTITY_HEADER", str,
        "Header in which a trusted proxy names who asks, such as X-Forwarded-Email.",
    ),
    "trusted_proxies": (
        "--trusted-proxies", "LOOKALIKE_TRUSTED_PROXIES", str,
        "Addresses or networks whose headers are believed, with commas between.",
    ),
    "iap_audience": (
        "--iap-audience", "LOOKALIKE_IAP_AUDIENCE", str,
        "Audience of Identity-Aware Proxy's signed assertion.",
    ),
    "operators": (
        "--operators", "LOOKALIKE_OPERATORS", str,
        "Who of those that a proxy names may operate: ada@shop.example,*@shop.example.",
    ),
    "public_url": (
        "--public-url", "LOOKALIKE_PUBLIC_URL", str,
        "Where browsers reach the server, such as https://lookalike.shop.example.",
    ),
}  # fmt: skip
CLOSED_VARIABLE = "LOOKALIKE_CLOSED_SEARCH"


def access_options(command: Command) -> Command:
    """Adds the options to a command."""
    closed = click.option(
        "--closed-search",
        is_flag=True,
        help=f"Only who may `search` does; also {CLOSED_VARIABLE}=1.",
    )
    command = closed(command)
    for name, (option, variable, kind, text) in reversed(_OPTIONS.items()):
        command = click.option(
            option, name, type=kind, envvar=variable, show_envvar=True, help=text
        )(command)
    return command


def tell(options: Mapping[str, Any], environment: MutableMapping[str, str]) -> None:
    """Puts what was given on the command line where the server reads it: in the environment.

    Args:
        options: What the command was called with; others than ours are left alone.
        environment: Where the variables are.
    """
    for name, (_, variable, _, _) in _OPTIONS.items():
        if options.get(name) is not None:
            environment[variable] = str(options[name])
    if options.get("closed_search"):
        environment[CLOSED_VARIABLE] = "1"
