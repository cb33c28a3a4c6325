"""Somebody whom the server knows, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Right = Literal["search", "metrics", "withdraw", "operate"]
RIGHTS: tuple[Right, ...] = get_args(Right)


@dataclass(frozen=True)
class Principal:
    """A person or a program.

    Attributes:
        name: For the history and the log, such as `ada@shop.example`.
        rights: What was granted; `operate` includes everything.
        means: How it is known: `token`, `session`, `proxy` or `iap`.
        token: SHA-256 of the token in hexadecimal; empty when there is none.
    """

    name: str
    rights: frozenset[Right]
    means: Literal["token", "session", "proxy", "iap"]
    token: str = ""

    def may(self, right: Right) -> bool:
        """Whether it may do this."""
        return right in self.rights or "operate" in self.rights
