"""The training report: one page with the curves of a run."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from components.contracts.page import page, table, tiles
from components.train.model_card import empty_leaves_in_words

_WIDTH, _HEIGHT, _MARGIN = 460, 220, 34
# Readable on light and on dark ground.
_COLOURS = ("#3b82c4", "#d97a1e", "#3f9b57", "#a35fc0", "#c94f5d", "#7a8791")

Curve = Sequence[tuple[float, float]]


def training_report(
    *,
    card: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    confusions: Mapping[str, Any] | None = None,
) -> str:
    """Returns the page, self-contained HTML.

    Args:
        card: What `model_card.json` holds.
        history: One record an epoch, as `curves.json` holds them.
        confusions: What `confusions.json` holds; empty when nothing was held out.
    """
    facts = [(str(card["mode"]), "mode"), (str(card["trained"]["examples"]), "examples")]
    parts = []
    if history:
        last = history[-1]
        facts += [
            (f"{last['loss']:.3f}", "last loss"),
            (f"{last['images_per_second']:.0f}", "images a second"),
        ]
        # Encoders of earlier versions were written without some of them.
        if "steps_per_second" in last:
            facts.append((f"{last['steps_per_second']:.2f}", "steps a second"))
        facts.append((f"{last['input_stall_share']:.1%}", "waiting for input"))
        if "scaling_efficiency" in last:
            facts.append((f"{last['scaling_efficiency']:.1%}", "scaling efficiency"))
        charts = [
            chart("Loss", {"loss": _curve(history, "loss")}),
            chart("Learning rate", {"rate": _curve(history, "learning_rate")}),
            chart("Right first guess, augmented training images", _nested(history, "train")),
            chart("Right first guess, products never trained on", _nested(history, "unseen")),
        ]
        parts = [f"<h2>Curves over epochs</h2><div>{''.join(charts)}</div>", _levels(history)]
    else:
        parts = ["<p>No step was taken in this run.</p>"]
    if "empty_leaves" in card:
        parts.append(f"<p>{html.escape(empty_leaves_in_words(card['empty_leaves']))}</p>")
    parts += [_departments(card), _confusions(confusions or {})]
    rows = [(name, _plain(value)) for name, value in sorted(card["parameters"].items())]
    parts.append("<h2>Parameters</h2>" + table(("parameter", "value"), rows))
    return page("Training", tiles(facts) + "".join(parts))


def _levels(history: Sequence[Mapping[str, Any]]) -> str:
    """Returns the last shares of right first guesses, a level a row."""
    seen = _last(history, "train")
    held_out = _last(history, "unseen")
    rows = [
        (level, _share(seen.get(level)), _share(held_out.get(level)))
        for level in dict.fromkeys((*seen, *held_out))
    ]
    columns = ("level", "augmented training images", "products never trained on")
    return "<h2>Right first guess by level</h2>" + table(columns, rows)


def _departments(card: Mapping[str, Any]) -> str:
    """Returns the share of right leaves, a department a row; empty when nothing was held out."""
    found = card.get("metrics", {}).get("departments", {})
    rows = [(name, one["images"], _share(one["right"])) for name, one in found.items()]
    columns = ("department", "images of products never trained on", "right leaf")
    return "<h2>Right leaf by department</h2>" + table(columns, rows) if rows else ""


def _last(history: Sequence[Mapping[str, Any]], key: str) -> Mapping[str, float]:
    return next((record[key] for record in reversed(history) if record.get(key)), {})


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _confusions(found: Mapping[str, Any]) -> str:
    """Returns what is taken for what: a matrix of the most confused types, and the pairs."""
    title = "<h2>Most confused types</h2>"
    if not found:
        return title + "<p>No product was held out, so that there is nothing to tell.</p>"
    names = found["names"]
    right = found["right"] / found["images"]
    intro = (
        f"<p>The first guess is right for {right:.1%} of {found['images']:,} images of products "
        "that were never trained on. A row is what an image shows, a column what it is taken for; "
        "the stronger its colour, the larger the share of the row.</p>"
    )
    leaves = found["leaves"]
    if not leaves:
        return title + intro + "<p>No type is taken for another.</p>"
    head = "".join(
        f'<th scope="col" title="{html.escape(names[leaf])}">{number}</th>'
        for number, leaf in enumerate(leaves, start=1)
    )
    body = []
    for number, (leaf, cells, total) in enumerate(
        zip(leaves, found["matrix"], found["totals"], strict=True), start=1
    ):
        columns = "".join(
            _cell(times, total, names[leaf], names[other], right=leaf == other)
            for other, times in zip(leaves, cells, strict=True)
        )
        name = html.escape(names[leaf])
        body.append(f'<tr><th scope="row">{number} {name} ({total})</th>{columns}</tr>')
    matrix = (
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
    pairs = table(
        ("shows", "taken for", "times", "of images"),
        [(names[p["label"]], names[p["guess"]], p["times"], p["of"]) for p in found["pairs"]],
    )
    return title + intro + matrix + "<h3>The most frequent mistakes</h3>" + pairs


def _cell(times: int, total: int, label: str, guess: str, *, right: bool) -> str:
    share = times / total if total else 0.0
    colour = "var(--pass)" if right else "var(--fail)"
    tint = f"color-mix(in srgb, {colour} {100 * 0.75 * share:.0f}%, transparent)"
    words = html.escape(f"{label} taken for {guess}: {times} of {total}")
    shown = times or ""
    return f'<td class="number" style="background:{tint}" title="{words}">{shown}</td>'


def chart(title: str, curves: Mapping[str, Curve]) -> str:
    """Returns an inline SVG line chart, its vertical axis from zero; empty without points."""
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        return ""
    points = [point for curve in curves.values() for point in curve]
    right = max(1.0, *(x for x, _ in points))
    top = max(1e-9, *(y for _, y in points))
    lines, legend = [], []
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{_x(x, right):.1f},{_y(y, top):.1f}" for x, y in curve)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        # Beside the title: within the axes it would lie on the curves.
        legend.append(
            f'<span style="white-space:nowrap;margin-right:.8em"><span style="color:{colour}">'
            f"\u25a0</span> {html.escape(name)} {curve[-1][1]:.3g}</span>"
        )
    base = _HEIGHT - _MARGIN
    axis = (
        f'<path d="M{_MARGIN} 8V{base}H{_WIDTH - 8}" fill="none" stroke="currentColor" '
        'stroke-opacity=".4"/>'
        f'<text x="2" y="14" fill="currentColor">{top:.3g}</text>'
        f'<text x="{_WIDTH - 8}" y="{base + 16}" fill="currentColor" text-anchor="end">'
        f"{right:.0f}</text>"
    )
    label = html.escape(title)
    return (
        f'<figure style="display:inline-block;width:{_WIDTH}px;max-width:100%;'
        f'margin:0 1rem 1rem 0"><figcaption>{label}<br>{" ".join(legend)}</figcaption>'
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" style="max-width:100%;font:11px sans-serif">{axis}{"".join(lines)}'
        "</svg></figure>"
    )


def _x(value: float, largest: float) -> float:
    return _MARGIN + value / largest * (_WIDTH - _MARGIN - 8)


def _y(value: float, largest: float) -> float:
    base = _HEIGHT - _MARGIN
    return base - value / largest * (base - 8)


def _curve(history: Sequence[Mapping[str, Any]], key: str) -> Curve:
    return [(float(record["epoch"]), float(record[key])) for record in history]


def _nested(history: Sequence[Mapping[str, Any]], key: str) -> dict[str, Curve]:
    names = sorted({name for record in history for name in record.get(key, {})})
    return {
        name: [
            (float(record["epoch"]), float(record[key][name]))
            for record in history
            if name in record.get(key, {})
        ]
        for name in names
    }


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return str(value)
