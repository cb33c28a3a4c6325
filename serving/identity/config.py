"""How the server recognises people."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from components.contracts.errors import InputError
from serving.identity import proxies, sessions, tokens

_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True)
class AccessConfig:
    """Who may do what. The defaults let anybody search, and nobody act.

    Attributes:
        token_file: Names, rights and secrets, one a line; `LOOKALIKE_TOKEN` in the environment
            adds one operator's.
        session_key_file: What cookies are signed with, at least 32 bytes. Without it each process
            makes its own: enough for one, while several behind one address need the same.
        session_hours: How long a browser stays signed in, in hours.
        identity_header: Header in which a trusted proxy names who is asking, such as
            `X-Forwarded-Email`; empty trusts none.
        iap_audience: Audience of Google's Identity-Aware Proxy; its signed assertion is checked
            then, whatever machine it comes from. Empty looks at none.
        trusted_proxies: Addresses and networks whose headers are believed.
        operators: Who, of those that a proxy names, may act: `ada@shop.example` or
            `*@shop.example`.
        open_search: Whether everybody may search; else only who may `search`.
        public_url: Where browsers reach the server, such as `https://lookalike.shop.example`;
            cookies are Secure when it begins with https.
    """

    token_file: Path | None = None
    session_key_file: Path | None = None
    session_hours: float = 12.0
    identity_header: str = ""
    iap_audience: str = ""
    trusted_proxies: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    open_search: bool = True
    public_url: str = ""

    def __post_init__(self) -> None:
        """Refuses what would not recognise anybody, or everybody.

        Raises:
            InputError: Settings contradict each other.
        """
        if not self.session_hours > 0:
            raise InputError(f"session_hours: expected more than 0, received {self.session_hours}")
        if self.identity_header and not _HEADER.fullmatch(self.identity_header):
            raise InputError(
                f"identity_header: expected a header's name, received {self.identity_header!r}"
            )
        if self.identity_header and not self.trusted_proxies:
            raise InputError(
                "identity_header: anybody can send a header; name the proxies that are believed "
                "(trusted_proxies)"
            )
        if (self.identity_header or self.iap_audience) and not self.operators:
            raise InputError(
                "operators: expected who may act, such as *@shop.example, since an identity "
                "header is read; received nobody"
            )
        for entry in self.operators:
            if not entry or "*" in entry.removeprefix("*@") or entry == "*@":
                raise InputError(
                    f"operators: expected ada@shop.example or *@shop.example, received {entry!r}"
                )
        proxies.parse_networks(self.trusted_proxies)
        if self.public_url:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
                raise InputError(
                    "public_url: expected such as https://lookalike.shop.example, received "
                    f"{self.public_url!r}"
                )

    @property
    def secure(self) -> bool:
        """Whether browsers come over https."""
        return self.public_url.startswith("https://")

    def is_operator(self, name: str) -> bool:
        """Whether one whom a proxy names may act."""
        domain = "*@" + name.rpartition("@")[2]
        return bool(name) and (name in self.operators or ("@" in name and domain in self.operators))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> AccessConfig:
        """Reads the `LOOKALIKE_...` variables that docs/serving.md lists.

        Raises:
            InputError: A value cannot be read.
        """

        def words(name: str) -> tuple[str, ...]:
            return tuple(environment.get(name, "").replace(",", " ").split())

        def path(name: str) -> Path | None:
            return Path(environment[name]) if environment.get(name) else None

        hours = environment.get("LOOKALIKE_SESSION_HOURS", "") or "12"
        try:
            session_hours = float(hours)
        except ValueError:
            raise InputError(
                f"LOOKALIKE_SESSION_HOURS: expected a number, received {hours!r}"
            ) from None
        closed = environment.get("LOOKALIKE_CLOSED_SEARCH", "").lower()
        if closed not in ("", "0", "1", "false", "true"):
            raise InputError(f"LOOKALIKE_CLOSED_SEARCH: expected 1 or 0, received {closed!r}")
        return cls(
            token_file=path(tokens.FILE_VARIABLE),
            session_key_file=path(sessions.KEY_VARIABLE),
            session_hours=session_hours,
            identity_header=environment.get("LOOKALIKE_IDENTITY_HEADER", ""),
            iap_audience=environment.get("LOOKALIKE_IAP_AUDIENCE", ""),
            trusted_proxies=words("LOOKALIKE_TRUSTED_PROXIES"),
            operators=words("LOOKALIKE_OPERATORS"),
            open_search=closed in ("", "0", "false"),
            public_url=environment.get("LOOKALIKE_PUBLIC_URL", "").rstrip("/"),
        )
