"""`/console`: what is live on each channel, what this server answers with, the newest versions."""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from components.contracts.moments import ago
from serving.console.frame import (
    act_link,
    button,
    channel_link,
    facts,
    note,
    pill,
    status_pill,
    table,
    version_code,
    when,
)
from serving.console.reading import Overview


def render(
    seen: Overview | None, served: Mapping[str, Any], *, channel: str, problem: str = ""
) -> str:
    """Returns the body of the page.

    Args:
        seen: What the registry says, or said when it could last be read; None when it never could.
        served: What `/readyz` answers.
        channel: The channel that this server follows; empty for none.
        problem: Why the registry cannot be read now; empty when it can.
    """
    parts = ["<h1>What is live</h1>"]
    if problem:
        old = ""
        if seen is not None:
            age = ago((datetime.now(UTC) - seen.read_at).total_seconds())
            old = f" What follows was read {html.escape(age)}; nothing can be changed now."
        parts.append(
            note(
                f"<b>The registry cannot be read.</b> {html.escape(problem)}{old} "
                "Searching goes on: this server answers from the bundle it has.",
                "fail",
            )
        )
    # Somebody on call sees trouble first, and the channel where all is well.
    troubled = bool(served.get("failed")) or not served.get("version")
    if troubled:
        parts.append(server(served, channel))
    if seen is not None:
        # What this server answers from comes first.
        reports = sorted(seen.channels, key=lambda report: report["channel"] != channel)
        parts += [channel_card(report, acting=not problem) for report in reports]
        if not seen.channels:
            parts.append(note("No channel yet: promoting a version makes one."))
    if not troubled:
        parts.append(server(served, channel))
    if trial := served.get("trial"):
        parts.append(tried(trial))
    if seen is not None:
        parts.append(_versions(seen))
    return "".join(parts)


def server(served: Mapping[str, Any], channel: str) -> str:
    """Returns what this server answers with, and whether that is what it should."""
    version = str(served.get("version") or "")
    live = str(served.get("live") or "")
    failed = served.get("failed")
    if not version:
        state, kind = "not ready", "fail"
    elif failed:
        state, kind = "could not load what is live", "fail"
    elif served.get("source_error"):
        state, kind = "cannot read the channel", "wait"
    elif live and live != version:
        state, kind = "is loading what is live", "wait"
    else:
        state, kind = "up to date", "pass"
    pairs = [("answers with", version_code(version))]
    if channel:
        pairs.append(("follows", f'<a href="{html.escape(channel_link(channel))}">{channel}</a>'))
    if live and live != version:
        pairs.append(("the channel says", version_code(live)))
    if served.get("loaded_at"):
        pairs.append(("since", when(str(served["loaded_at"]))))
    if failed:
        text = f"{failed.get('version', '')}: {failed.get('reason', '')}"
        pairs.append(("refused", f'<span class="alarm">{html.escape(text)}</span>'))
    if served.get("source_error"):
        pairs.append(("registry", html.escape(str(served["source_error"]))))
    return (
        f'<section class="card slim"><h2>This server {pill(state, kind)}</h2>{facts(pairs)}'
        "</section>"
    )


def tried(trial: Mapping[str, Any]) -> str:
    """Returns how the second channel's bundle fares in this process.

    Args:
        trial: See `serving.trial.Trial.describe`.
    """
    version = str(trial.get("version") or "")
    if trial.get("ended"):
        state, kind = "switched off", "fail"
    elif trial.get("load_failed"):
        state, kind = "could not be loaded", "fail"
    elif not trial.get("active"):
        state, kind = "nothing to try", "plain"
    else:
        state, kind = "running", "pass"
    name = html.escape(str(trial["channel"]))
    mode = html.escape(str(trial["mode"]))
    pairs = [
        ("version", version_code(version)),
        (mode, f"{trial['share']:.0%} of the requests"),
    ]
    if trial.get("ended"):
        pairs.append(("why", f'<span class="alarm">{html.escape(str(trial["ended"]))}</span>'))
    if failed := trial.get("load_failed"):
        pairs.append(("why", f'<span class="alarm">{html.escape(str(failed["reason"]))}</span>'))
    rows = [
        ("answers in the window", f"{trial['answers']:,}", ""),
        ("requests that failed", _share(trial["failed"]), ""),
        ("empty answers", _share(trial["empty"]), _share(trial["live_empty"])),
        ("95th percentile", _milliseconds(trial["seconds_p95"]),
         _milliseconds(trial["live_seconds_p95"])),
    ]  # fmt: skip
    if trial["mode"] == "shadow":
        rows += [
            ("answers compared", f"{trial['compared']:,}", ""),
            ("in common with the live answer", _share(trial["overlap"]), ""),
        ]
    figures = table(("Here, lately", "On trial", "Live"), rows)
    if trial["failed"] is None and not trial["answers"]:
        figures = "<p>No request of this process has been put to it lately.</p>"
    link = f'<a href="{html.escape(channel_link(str(trial["channel"])))}">{name}</a>'
    return (
        f'<section class="card slim"><h2>On trial: {link} {pill(state, kind)}</h2>{facts(pairs)}'
        f"{figures}"
        '<p class="muted">Figures of this process; Prometheus has those of all.</p></section>'
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.1f} ms"


def channel_card(report: Mapping[str, Any], *, acting: bool, heading: str = "h2") -> str:
    """Returns a channel at a glance, with what can be done to it.

    Args:
        report: See `channel_report`.
        acting: Whether anything can be done now.
        heading: The element of the heading.
    """
    name, live = str(report["channel"]), str(report["live"])
    frozen = report.get("frozen")
    pills = pill("frozen", "wait") if frozen else ""
    forced = (report.get("since") or {}).get("forced")
    pills += pill("promoted by force", "wait") if forced else ""
    head = (
        f'<div class="head"><{heading}><a href="{html.escape(channel_link(name))}">'
        f"{html.escape(name)}</a> {pills}</{heading}>"
        f'<div class="live">{version_code(live)}</div></div>'
    )
    problems = "".join(note(html.escape(text), "fail") for text in report["problems"])
    return (
        f'<section class="card channel">{head}{problems}{facts(_facts(report))}'
        f"{_buttons(report, heading) if acting else ''}</section>"
    )


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    if since := report.get("since"):
        verb = "rolled back" if since["kind"] == "rollback" else "promoted"
        forced = " <b>by force</b>" if since["forced"] else ""
        pairs += [
            ("since", when(since["when"])),
            ("by", f"{html.escape(since['who'])}, {verb}{forced}"),
            ("why", html.escape(since["why"])),
            ("before", version_code(since["from"])),
        ]
    if bundle := report.get("bundle"):
        pairs.append(
            (
                "built",
                f"{when(bundle['created'])}, {bundle['items']:,} items, "
                f"{html.escape(bundle['mode'])}",
            )
        )
    if report["live"]:
        pairs.append(("verdicts", _verdicts(report.get("verdicts", []))))
    if frozen := report.get("frozen"):
        text = f"by {frozen['who']}, {frozen['why']}"
        pairs.append(("frozen", f"{when(frozen['when'])} {html.escape(text)}"))
    if report["live"] and "rollback_to" in report:
        target = report["rollback_to"]
        pairs.append(
            ("rollback", f"brings back {version_code(target)}" if target else "nothing to go to")
        )
    if quarantine := report.get("quarantine"):
        listed = [version_code(version) for version in list(quarantine)[-3:]]
        more = f" and {len(quarantine) - 3} more" if len(quarantine) > 3 else ""
        pairs.append(("quarantine", ", ".join(listed) + more))
    return pairs


def _verdicts(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return pill("none on record", "wait")
    # The newest of each gate: what went before it no longer counts.
    newest = {line["gate"]: line for line in lines}
    return " ".join(
        status_pill(f"{gate} {line['status']}", line["status"])
        + (pill("simulated raters", "wait") if line["simulated"] else "")
        for gate, line in newest.items()
    )


def _buttons(report: Mapping[str, Any], heading: str) -> str:
    name = str(report["channel"])
    buttons = []
    if report.get("rollback_to"):
        buttons.append(button(act_link(name, "rollback"), "Roll back…", kind="danger"))
    if report.get("frozen"):
        buttons.append(button(act_link(name, "unfreeze"), "Unfreeze…"))
    else:
        buttons.append(button(act_link(name, "freeze"), "Freeze…"))
    if heading != "h1":
        buttons.append(button(channel_link(name), "History"))
    return f'<div class="buttons">{"".join(buttons)}</div>'


def _versions(seen: Overview) -> str:
    shown = len(seen.versions)
    more = (
        f'<p><a href="/console/versions">All {seen.total:,} versions</a></p>'
        if shown < seen.total
        else ""
    )
    return f"<h2>Versions</h2>{versions_table(seen)}{more}"


def versions_table(seen: Overview) -> str:
    """Returns the versions, the newest first, with what the gates said of them."""
    if not seen.versions:
        return note("No bundle has been published yet; <code>lookalike run</code> builds one.")
    rows = []
    for row in seen.versions:
        states = "".join(
            pill(state, "live" if state.startswith("LIVE") else "fail") for state in row["states"]
        )
        verdicts = "".join(
            status_pill(text, text.rpartition(" ")[2]) for text in row["verdicts"]
        ) or pill("not judged", "plain")
        age = (datetime.now(UTC)).timestamp() - row["published"]
        rows.append(
            (
                version_code(row["version"]),
                html.escape(ago(age)),
                f"{row['items']:,}",
                html.escape(row["mode"]),
                verdicts,
                states,
            )
        )
    return table(("Version", "Published", "Items", "Mode", "Verdicts", "State"), rows)
