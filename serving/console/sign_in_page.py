"""`/login`: a token opens a session."""

from __future__ import annotations

import html

from serving.console.frame import Visitor, hidden, note


def render(visitor: Visitor, *, following: str, possible: bool, problem: str = "") -> str:
    """Returns the body of the page.

    Args:
        visitor: Whose form it is; nobody yet.
        following: Where to go afterwards.
        possible: Whether anybody has a token here.
        problem: What was wrong with the last attempt.
    """
    head = "<h1>Sign in</h1>"
    if not possible:
        return head + note(
            "This server knows nobody who may act. Make a token, and start the server with it:"
            '<pre><code>umask 077; echo "$USER operate $(openssl rand -hex 24)" > tokens\n'
            "LOOKALIKE_TOKEN_FILE=tokens lookalike serve ...</code></pre>"
            "Then sign in with the third word of that line.",
            "wait",
        )
    alarm = note(html.escape(problem), "fail") if problem else ""
    return (
        f"{head}<p>With your token: the third word of your line in the server's token file.</p>"
        f'{alarm}<form class="act narrow" method="post" action="/login">'
        f"{hidden({'form': visitor.form, 'next': following})}"
        '<label for="token">Token</label><input id="token" name="token" type="password" required '
        'autofocus autocomplete="current-password" maxlength="512">'
        '<div class="buttons"><button>Sign in</button></div></form>'
    )
