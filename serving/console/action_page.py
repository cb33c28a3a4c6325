"""The forms that change a channel: a typed reason, what would happen, a confirmation.

Nothing is changed by the first two of the three steps. What was live when the visitor looked goes
along, so that nobody undoes what somebody else has just done.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.promote.operations import Done
from components.registry.channel import ChannelState, Kind
from serving.console.frame import (
    Visitor,
    act_link,
    button,
    channel_link,
    facts,
    hidden,
    note,
    reasons,
    version_code,
    when,
)

_TITLES: Mapping[Kind, str] = {
    "promote": "Promote a version to {}",
    "rollback": "Roll back {}",
    "freeze": "Freeze {}",
    "unfreeze": "Unfreeze {}",
    "quarantine": "Quarantine a version on {}",
    "release": "Release a version on {}",
}
_MEANINGS: Mapping[Kind, str] = {
    "promote": "Makes the version live, if its verdicts, its bytes and the channel's policy allow "
    "it. All of them are read again now.",
    "rollback": "Brings back what was live before and quarantines what is live now. Works on a "
    "frozen channel, too, and asks no gate.",
    "freeze": "Takes no promotion until it is unfrozen. Rolling back still works.",
    "unfreeze": "Takes promotions again.",
    "quarantine": "Keeps the version from going live on this channel until it is released.",
    "release": "Ends the version's quarantine. Makes nothing live by itself.",
}
_DANGEROUS = ("rollback", "freeze")


@dataclass(frozen=True)
class Asked:
    """What a visitor has filled in so far.

    Attributes:
        kind: What to do.
        version: To which version; empty for the channel itself, or for the latest to go back to.
        reason: Why, in words.
        force: Whether to override the gates.
        expected_live: What was live when the visitor looked; empty for nothing.
    """

    kind: Kind
    version: str = ""
    reason: str = ""
    force: bool = False
    expected_live: str = ""

    def fields(self) -> dict[str, str]:
        """Returns them as hidden fields."""
        values = {"reason": self.reason, "expected_live": self.expected_live}
        if self.version:
            values["version"] = self.version
        return values | ({"force": "yes"} if self.force else {})


def recorded(name: str) -> str:
    """Returns how a visitor stands in the history."""
    return f"{name} (console)"


def title(asked: Asked, channel: str) -> str:
    """Returns the page's heading, as plain text."""
    return _TITLES[asked.kind].format(channel)


def render_form(
    asked: Asked,
    state: ChannelState,
    visitor: Visitor,
    *,
    targets: Sequence[str] = (),
    problem: str = "",
) -> str:
    """Returns the first step: what is, and the reason.

    Args:
        asked: What is to be done.
        state: The channel as it is.
        visitor: Who does it.
        targets: Where a rollback may go, the latest first.
        problem: What was wrong with the form that was sent.
    """
    name = state.name
    values = {"form": visitor.form, "step": "review", "expected_live": state.live}
    where = ""
    if asked.kind == "rollback":
        options = "".join(
            f'<option value="{html.escape(target)}"'
            f"{' selected' if target == asked.version else ''}>{html.escape(target)}</option>"
            for target in targets
        )
        where = (
            '<label for="version">Bring back</label><select id="version" name="version">'
            f'<option value="">the latest that is whole</option>{options}</select>'
        )
    elif asked.version:
        values["version"] = asked.version
    alarm = note(html.escape(problem), "fail") if problem else ""
    return (
        f"<h1>{html.escape(title(asked, name))}</h1>"
        f"<p>{html.escape(_MEANINGS[asked.kind])}</p>{alarm}{_now(asked, state)}"
        f'<form class="act" method="post" action="{html.escape(act_link(name, asked.kind))}">'
        f"{hidden(values)}{where}"
        '<label for="reason">Reason <span class="muted">stands in the history for ever</span>'
        '</label><input id="reason" name="reason" required maxlength="2000" autofocus '
        f'autocomplete="off" value="{html.escape(asked.reason)}">'
        '<div class="buttons"><button>See what would happen</button>'
        f"{button(channel_link(name), 'Cancel')}</div></form>"
    )


def _now(asked: Asked, state: ChannelState) -> str:
    pairs = [("live now", version_code(state.live))]
    if asked.version and asked.kind != "rollback":
        pairs.append(("version", version_code(asked.version)))
    if state.frozen:
        text = f"by {state.frozen.who}: {state.frozen.why}"
        pairs.append(("frozen", f"{when(state.frozen.when)} {html.escape(text)}"))
    return facts(pairs)


def render_review(asked: Asked, channel: str, visitor: Visitor, done: Done) -> str:
    """Returns the second step: what would happen, and the button that makes it happen.

    Args:
        asked: What is to be done.
        channel: The channel.
        visitor: Who does it.
        done: What a dry run says.
    """
    what = facts(
        [
            ("live now", version_code(asked.expected_live)),
            ("live then", version_code(done.version or asked.expected_live)),
            ("reason", html.escape(asked.reason)),
            ("who", html.escape(recorded(visitor.name))),
        ]
    ) + reasons(done.reasons)
    head = f"<h1>{html.escape(title(asked, channel))}</h1>"
    if done.refused:
        refusal = note(f"<b>Refused.</b> {html.escape(done.words)}", "fail")
        return head + refusal + what + _offer_force(asked, channel, visitor)
    link = html.escape(act_link(channel, asked.kind))
    typed = ""
    if asked.force:
        typed = (
            f'<label for="typed">This overrides gates. Type <code>{html.escape(channel)}</code> '
            'to confirm</label><input id="typed" name="typed" required autocomplete="off" '
            'autocapitalize="off" spellcheck="false">'
        )
    kind = "danger" if asked.kind in _DANGEROUS or asked.force else "primary"
    # What the dry run found is what is done: "the latest" must not mean another version by then.
    fixed = Asked(
        asked.kind, asked.version or done.version, asked.reason, asked.force, asked.expected_live
    )
    values = {"form": visitor.form, "step": "confirm", **fixed.fields()}
    return (
        f"{head}{note(f'<b>{html.escape(done.words)}</b>', 'wait')}{what}"
        f'<form class="act" method="post" action="{link}">{hidden(values)}{typed}'
        f'<div class="buttons"><button class="{kind}">{_verb(asked)}</button>'
        f"{button(channel_link(channel), 'Cancel')}</div></form>"
    )


def _verb(asked: Asked) -> str:
    verb = {
        "promote": "Promote now",
        "rollback": "Roll back now",
        "freeze": "Freeze now",
        "unfreeze": "Unfreeze now",
        "quarantine": "Quarantine now",
        "release": "Release now",
    }[asked.kind]
    return f"{verb}, by force" if asked.force else verb


def _offer_force(asked: Asked, channel: str, visitor: Visitor) -> str:
    back = button(channel_link(channel), f"Back to {channel}")
    if asked.kind != "promote" or asked.force:
        return f'<div class="buttons">{back}</div>'
    forced = Asked("promote", asked.version, asked.reason, True, asked.expected_live)
    values = {"form": visitor.form, "step": "review", **forced.fields()}
    return (
        f'<form class="act" method="post" action="{html.escape(act_link(channel, "promote"))}">'
        f'{hidden(values)}<div class="buttons">{back}'
        '<button class="danger">See what force would override…</button></div></form>'
    )


def render_failure(asked: Asked, channel: str, problem: str) -> str:
    """Returns what is shown when the channel does not take it, or nobody can tell."""
    return (
        f"<h1>{html.escape(title(asked, channel))}</h1>"
        f"{note(f'<b>Not done.</b> {html.escape(problem)}', 'fail')}"
        f'<div class="buttons">{button(channel_link(channel), f"Look at {channel}")}'
        f"{button('/console', 'Overview')}</div>"
    )
