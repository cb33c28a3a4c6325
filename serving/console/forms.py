"""Reading the console's small forms."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from serving.problems import Problem

_LARGEST = 16 * 1024


async def read_form(request: Request) -> dict[str, str]:
    """Returns the fields of a form; of several of one name the last.

    Raises:
        Problem: 413: it is larger than any form of ours. 415: it is no form. 400: it cannot be
            read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem(415, "not_a_form", f"expected a form, received {kind or 'nothing'}")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST:
                raise Problem(
                    413,
                    "form_too_large",
                    f"expected at most {_LARGEST} bytes",
                    {"Connection": "close"},
                )
    except ClientDisconnect:
        raise Problem(400, "form_cut_off", "the connection closed before the end") from None
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=32))
    except ValueError:
        raise Problem(400, "bad_form", "expected a form of at most 32 fields in UTF-8") from None
