"""The model card: what an encoder was trained on, how, how well, and what not to use it for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.train.labels import some

LIMITS = (
    "Trained on catalog views alone; photos with several products, people or heavy occlusion were "
    "not part of the training.",
    "Products never trained on are found by resemblance; their figures stand apart above.",
    "Similar means alike to the taxonomy and to the eye of the network, not substitutable.",
)
_REASONS = {
    "no_image": "without an image",
    "rare": "too rare and trained at an ancestor",
    "held_out": "with all products held out",
}


def model_card(
    *,
    mode: str,
    parameters: Mapping[str, Any],
    precision: str,
    taxonomy_digest: str,
    levels: Mapping[str, int],
    empty_leaves: Mapping[str, Any],
    products: int,
    examples: int,
    unseen_examples: int,
    history: Sequence[Mapping[str, Any]],
    export_difference: float,
    departments: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """Returns the card as plain values for `model_card.json`.

    Args:
        mode: scratch or warm.
        parameters: The training parameters.
        precision: Arithmetic that was used while training.
        taxonomy_digest: SHA-256 of the checked taxonomy.
        levels: Number of classes by level.
        empty_leaves: Which leaves have no training example, as `EmptyLeaves.to_mapping` says it.
        products: Number of products trained on.
        examples: Number of training examples.
        unseen_examples: Number of examples of products never trained on.
        history: One record an epoch.
        export_difference: Largest difference between the export and the training path.
        departments: By department's name, the `images` of products never trained on, and of how
            many the first guess at the leaf was `right`.
    """
    last = history[-1] if history else {}
    return {
        "mode": mode,
        "taxonomy_digest": taxonomy_digest,
        "classes": dict(levels),
        "empty_leaves": dict(empty_leaves),
        "trained": {"examples": examples, "products": products, "epochs": len(history)},
        "unseen_examples": unseen_examples,
        "precision": precision,
        "metrics": {
            "loss": last.get("loss"),
            "train": dict(last.get("train", {})),
            "unseen": dict(last.get("unseen", {})),
            "departments": {
                name: {"images": one["images"], "right": one["right"] / one["images"]}
                for name, one in departments.items()
            },
        },
        "export_difference": export_difference,
        "limits": list(LIMITS),
        "parameters": dict(parameters),
    }


def to_markdown(card: Mapping[str, Any]) -> str:
    """Returns the card as Markdown."""
    trained, metrics = card["trained"], card["metrics"]
    lines = [
        "# Model card",
        "",
        f"A ResNet-{card['parameters']['depth']} that maps a product image to a unit vector of "
        f"{card['parameters']['embedding_dim']} numbers. Mode: {card['mode']}.",
        "",
        "## Data",
        "",
        f"- {trained['examples']} catalog images of {trained['products']} products, "
        f"{trained['epochs']} epochs; {card['unseen_examples']} images of products never trained "
        "on were kept apart.",
        f"- Taxonomy {card['taxonomy_digest']}: "
        + ", ".join(f"{count} {name} classes" for name, count in card["classes"].items())
        + ".",
        f"- {empty_leaves_in_words(card['empty_leaves'])}",
        "",
        "## Metrics",
        "",
        "Share of right first guesses of the classification heads, last epoch.",
        "",
        "| level | augmented training images | products never trained on |",
        "|---|---|---|",
    ]
    for name in {**metrics["train"], **metrics["unseen"]}:
        cells = (_percent(metrics[split].get(name)) for split in ("train", "unseen"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if metrics["departments"]:
        lines += [
            "",
            "By department, products never trained on, the leaf:",
            "",
            "| department | images | right |",
            "|---|---|---|",
        ]
    for name, one in metrics["departments"].items():
        lines.append(f"| {name} | {one['images']} | {_percent(one['right'])} |")
    lines += [
        "",
        f"Trained in {card['precision']}; exported in float32. Export and training path differ by "
        f"at most {card['export_difference']:.1e}.",
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card["limits"]),
        "",
    ]
    return "\n".join(lines)


def empty_leaves_in_words(empty: Mapping[str, Any]) -> str:
    """Returns a sentence on the leaves without a training example, with some of their names."""
    if not empty["empty"]:
        return f"Each of the {empty['leaves']} leaves of the taxonomy has training examples."
    parts = [
        f"{empty[reason]['count']} {words} ({some(empty[reason]['names'], empty[reason]['count'])})"
        for reason, words in _REASONS.items()
        if empty[reason]["count"]
    ]
    return (
        f"{empty['empty']} of the {empty['leaves']} leaves of the taxonomy have no training "
        f"example: {', '.join(parts)}."
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
