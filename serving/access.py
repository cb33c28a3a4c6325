"""Who may act on the server, as opposed to ask it."""

from __future__ import annotations

from fastapi import Request

from serving.problems import Problem


def require_operator(request: Request) -> str:
    """Returns who acts.

    Raises:
        Problem: 403: nobody may act while no way to recognise an operator is configured.
    """
    del request
    raise Problem(403, "no_operators", "this server knows no operators")
