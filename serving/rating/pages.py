"""The raters' pages: made on the server, complete without scripts, nothing fetched from elsewhere.

The one script maps keys to buttons. What a page says never hangs on which system found a result
or on whether a live pair is a hidden gold.
"""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass
from importlib import resources

from components.contracts.page import STYLE as REPORT_STYLE
from serving.rating import guidelines
from serving.rating.standing import Progress

STYLE = REPORT_STYLE + resources.files(__package__).joinpath("style.css").read_text("utf-8")
SCRIPT = """
const form = document.querySelector('form.grades');
let sent = false;
const ready = () => [...document.images].every(image => image.complete);
form?.addEventListener('submit', event => {
  if (sent) { event.preventDefault(); return; }
  sent = true; form.classList.add('busy');
});
addEventListener('pageshow', () => { sent = false; form?.classList.remove('busy'); });
addEventListener('keydown', event => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('input, textarea, select, summary')) return;
  const key = event.key === ' ' ? 'space' : event.key.toLowerCase();
  const target = [...document.querySelectorAll('[data-key]')]
    .find(entry => entry.dataset.key.split(' ').includes(key));
  if (!target) return;
  event.preventDefault();
  if (!target.closest('form.grades') || ready()) target.click();
});
"""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; img-src 'self' data:; style-src {_source(STYLE)}; "
    f"script-src {_source(SCRIPT)}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Shown:
    """The two pictures of a pair as the page shows them.

    Attributes:
        query: Address of the query's picture.
        result: Address of the result's picture.
        title: What the shop calls the result, shown on demand; empty when unknown.
    """

    query: str
    result: str
    title: str = ""


def shell(title: str, body: str, *, bar: str = "", refresh: int = 0, head: str = "") -> str:
    """Returns a whole page; `body` and `bar` are HTML, already escaped."""
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        f'<link rel="icon" href="data:,">{again}{head}<title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{bar}{body}<script>{SCRIPT}</script></body></html>\n"
    )


def meter(share: float, label: str) -> str:
    """Returns a bar that is filled to a share in [0, 1]."""
    width = f"{100 * min(1.0, max(0.0, share)):.1f}%"
    return (
        f'<div class="meter" role="img" aria-label="{html.escape(label)}">'
        f'<svg aria-hidden="true"><rect width="{width}" height="100%"/></svg></div>'
    )


def notice(text: str, kind: str = "") -> str:
    """Returns a line that tells what just happened; empty for nothing."""
    return f'<p class="notice {kind}" role="status">{html.escape(text)}</p>' if text else ""


def _bar(progress: Progress, *, undo: bool, guide: bool = True) -> str:
    if progress.phase == "qualifying":
        share = progress.qualified / max(1, progress.qualification)
        where = f"Practice {min(progress.qualified + 1, progress.qualification)} of " + str(
            progress.qualification
        )
    else:
        share = progress.complete / max(1, progress.pairs)
        where = f"{progress.rated:,} rated by you · campaign {share:.0%} complete"
    back = (
        '<a class="button quiet" href="/correct" data-key="u backspace">Undo <kbd>U</kbd></a>'
        if undo
        else ""
    )
    book = (
        '<a class="button" href="/guidelines" data-key="g">Guidelines <kbd>G</kbd></a>'
        if guide
        else ""
    )
    return (
        f'<div class="bar"><span class="name">Which looks alike?</span>'
        f'<span class="where">{where}</span>{meter(share, where)}<nav>{back}{book}</nav></div>'
    )


def _figures(shown: Shown) -> str:
    def figure(kind: str, label: str, source: str, title: str) -> str:
        named = f"<details><summary>Title</summary>{html.escape(title)}</details>" if title else ""
        return (
            f'<figure class="{kind}"><figcaption>{label}{named}</figcaption><div class="stage">'
            f'<img src="{html.escape(source)}" alt="{label}" decoding="async"></div></figure>'
        )

    return (
        '<main class="pair">'
        + figure("query", "The shopper has this", shown.query, "")
        + figure("result", "and is shown this", shown.result, shown.title)
        + "</main>"
    )


def rating(
    shown: Shown,
    token: str,
    progress: Progress,
    *,
    undo: bool,
    given: str = "",
    message: str = "",
    ahead: tuple[str, ...] = (),
) -> str:
    """Returns the page on which one pair is rated.

    Args:
        shown: The pair.
        token: What the form sends back.
        progress: How far the rater and the campaign are.
        undo: Whether the answer before can be changed.
        given: The answer that is being changed; empty for a fresh one.
        message: What just happened, in plain words.
        ahead: Addresses of the next pictures.
    """
    buttons = "".join(
        f'<button name="grade" value="{grade.value}" data-key="{grade.key}"'
        + (' class="unsure"' if grade.value == "cant_tell" else "")
        + (' aria-pressed="true"' if grade.value == given else "")
        + f"><b>{html.escape(grade.name)}</b>"
        f"<small><kbd>{html.escape(grade.key)}</kbd></small></button>"
        for grade in guidelines.GRADES
    )
    form = (
        '<form class="grades" method="post" action="/rate">'
        f'<input type="hidden" name="token" value="{html.escape(token)}">{buttons}</form>'
    )
    question = "How well does the right picture do for somebody who wants the left one?"
    if given:
        message = "Change your last answer, or give it again."
    fetch = "".join(
        f'<link rel="preload" as="image" href="{html.escape(address)}">' for address in ahead
    )
    body = f'{notice(message)}{_figures(shown)}<p class="ask">{question}</p>{form}'
    return shell("Rate", body, bar=_bar(progress, undo=undo and not given), head=fetch)


def feedback(
    shown: Shown, *, right: bool, given: str, gold: str, progress: Progress, done: str
) -> str:
    """Returns what a rater sees after a practice pair.

    Args:
        shown: The pair.
        right: Whether the answer was on the right side of "similar".
        given: The answer.
        gold: The known grade.
        progress: How far the rater is.
        done: What the whole practice came to; empty before its end.
    """
    theirs, ours = guidelines.BY_VALUE[given], guidelines.BY_VALUE[gold]
    if given == gold:
        text = f"<b>{ours.key} – {html.escape(ours.name)}.</b> Just so."
    elif right:
        text = (
            f"The best answer is <b>{ours.key} – {html.escape(ours.name)}</b>; yours, "
            f"{html.escape(theirs.name.lower())}, is close enough."
        )
    else:
        text = (
            f"You said {html.escape(theirs.name.lower())}. The answer is <b>{ours.key} – "
            f"{html.escape(ours.name)}</b>: {html.escape(ours.text)}"
        )
    mark = '<b class="right">✓ Right</b>' if right else '<b class="wrong">✗ Not quite</b>'
    end = f"<p><b>{html.escape(done)}</b></p>" if done else ""
    line = (
        f'<div class="verdict-line" role="status">{mark}<p>{text}</p>{end}'
        '<a class="button main" href="/rate" data-key="enter space n">Next <kbd>Enter</kbd></a>'
        "</div>"
    )
    return shell("Practice", _figures(shown) + line, bar=_bar(progress, undo=False))


def guide(progress: Progress | None, *, start: str, message: str = "") -> str:
    """Returns the guidelines with their examples.

    Args:
        progress: How far the rater is; None for somebody who only reads.
        start: What the button says.
        message: What just happened, in plain words.
    """
    scale = "".join(
        f"<dt><kbd>{html.escape(grade.key)}</kbd> {html.escape(grade.name)}</dt>"
        f"<dd>{html.escape(grade.text)}</dd>"
        for grade in reversed(guidelines.GRADES[:4])
    )
    unsure = guidelines.GRADES[4]
    scale += (
        f"<dt><kbd>{unsure.key}</kbd> {html.escape(unsure.name)}</dt>"
        f"<dd>{html.escape(unsure.text)}</dd>"
    )
    examples = ""
    for name, title, results in guidelines.EXAMPLES:
        figures = (
            f'<figure class="query"><img src="/examples/{name}.jpg" alt="">'
            f"<figcaption><b>The shopper has</b><br>{html.escape(title)}.</figcaption></figure>"
        )
        for grade, text in results.items():
            known = guidelines.BY_VALUE[grade]
            figures += (
                f'<figure><img src="/examples/{name}_{grade}.jpg" alt=""><figcaption>'
                f"<b>{grade} – {html.escape(known.name)}</b><br>{html.escape(text)}"
                "</figcaption></figure>"
            )
        examples += f'<div class="examples">{figures}</div>'
    rules = "".join(f"<li>{html.escape(rule)}</li>" for rule in guidelines.RULES)
    go = (
        f'<div class="actions"><a class="button main" href="/rate" data-key="enter g">'
        f"{html.escape(start)} <kbd>Enter</kbd></a></div>"
        if start
        else ""
    )
    body = (
        f'{notice(message, "info")}<main class="sheet-page"><h1>Which looks alike?</h1>'
        "<p>A shopper has one picture; the shop shows them another. You say how well the second "
        "one does for somebody who wants the first.</p>"
        f'<dl class="scale">{scale}</dl>{go}<h2>Examples</h2>{examples}<h2>Rules</h2>'
        f'<ul>{rules}</ul><div class="keys"><h2>Keys</h2><p><kbd>0</kbd> to <kbd>3</kbd> and '
        "<kbd>space</kbd> rate, "
        "<kbd>U</kbd> changes your last answer (within two minutes), <kbd>G</kbd> opens and closes "
        f"this page.</p></div>{go}</main>"
    )
    bar = _bar(progress, undo=False, guide=False) if progress else ""
    return shell("Guidelines", body, bar=bar)


def welcome(name: str, progress: Progress) -> str:
    """Returns what a rater sees first: the guidelines, and what comes next."""
    if progress.phase == "qualifying":
        message = (
            f"Welcome, {name}. First come {progress.qualification} practice pairs with known "
            "answers; each tells you the answer. Then the real work begins."
        )
        return guide(None, start="Start practice", message=message)
    return guide(progress, start="Go on rating", message=f"Welcome back, {name}.")


def pause(minutes: int) -> str:
    """Returns the reminder to take a break."""
    return message_page(
        "Time for a short break",
        f"You have been rating for {minutes} minutes. Tired eyes rate differently: look away from "
        "the screen for a minute. Nothing is lost, and nobody is waiting.",
        action='<form class="inline" method="post" action="/break"><button class="main" '
        'data-key="enter">Go on <kbd>Enter</kbd></button></form>',
    )


def message_page(title: str, text: str, *, action: str = "", refresh: int = 0) -> str:
    """Returns a page that says one thing.

    Args:
        title: The heading.
        text: Plain words.
        action: HTML of what can be done.
        refresh: Seconds after which the browser looks again; 0 for never.
    """
    actions = f'<div class="actions">{action}</div>' if action else ""
    body = (
        f'<main class="sheet-page center"><h1>{html.escape(title)}</h1>'
        f"<p>{html.escape(text)}</p>{actions}</main>"
    )
    return shell(title, body, refresh=refresh)
