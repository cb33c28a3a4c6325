"""The transform step's report: what the model will see, how much of it, and what was set aside."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.contracts import page
from components.contracts.catalog import Reject
from components.contracts.taxonomy import Taxonomy

_SAMPLES = 36
_DEAD_SHOWN = 50
_RARE_SHOWN = 50
# What the background is painted with in the report: a colour that few products have.
_PAINT = np.array([255, 64, 200], dtype=np.uint8)


def render_skipped(reason: str) -> str:
    """Returns the page of a run that had nothing to transform."""
    return page.page("Training examples", f"<p>Skipped. {html.escape(reason)}.</p>")


def render(
    *, statistics: Mapping[str, Any], taxonomy: Taxonomy, dead: Sequence[Reject], examples: Path
) -> str:
    """Returns the page.

    Args:
        statistics: What `statistics.json` says.
        taxonomy: The checked taxonomy.
        dead: The images that were set aside.
        examples: The directory with the shards.
    """
    train, unseen = statistics["train"], statistics["unseen"]
    size = statistics["stored_size"]
    figures = page.tiles(
        [
            (f"{train['examples']:,}", f"training images of {train['products']:,} products"),
            (f"{unseen['examples']:,}", f"images of {unseen['products']:,} unseen products"),
            (f"{statistics['decoded']:,}", "images decoded"),
            (f"{statistics['taken_over']:,}", "taken over from an earlier run"),
            (f"{len(dead):,}", "images set aside"),
            (f"{size} x {size}", "pixels stored"),
        ]
    )
    samples = page.sheet(
        page.figure(page.thumbnail(_picture(image, background)), item_id)
        for item_id, image, background in _samples(examples / "train", size)
    )
    channels = page.table(
        ("channel", "mean", "standard deviation"),
        [
            (name, float(mean), float(deviation))
            for name, mean, deviation in zip(
                ("red", "green", "blue"),
                statistics["channel_mean"],
                statistics["channel_std"],
                strict=True,
            )
        ],
    )
    shared = statistics["near_duplicates"]
    parts = [
        figures,
        f"<p>{shared['products']:,} products share an image with another one (the catalog's report "
        f"shows them); {shared['trained_for_a_copy']:,} of them would be unseen by their id and "
        "are trained on, because a copy of one of their images is.</p>",
        "<h2>What the model sees</h2><p>Resized images as they stand in the shards. Pink is what "
        "counts as background and is replaced in training.</p>",
        samples,
        "<h2>Class balance</h2><p>Training images by department and leaf.</p>",
        _balance(statistics["class_counts"], taxonomy),
        _rare(statistics["rare_classes"], taxonomy),
        "<h2>Pixels of the training split</h2>",
        channels,
        "<h2>Set aside</h2>",
        _dead(dead, statistics["rejects"]),
    ]
    return page.page("Training examples", "".join(parts))


def _samples(
    directory: Path, size: int
) -> Iterator[tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    # The step has loaded TensorFlow by now; a report of a skipped step must not.
    import tensorflow as tf  # noqa: PLC0415

    shards = sorted(str(path) for path in directory.glob("*.tfrecord"))
    for record in tf.data.TFRecordDataset(shards).take(_SAMPLES).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        image = np.frombuffer(feature["image"].bytes_list.value[0], np.uint8)
        background = np.frombuffer(feature["background"].bytes_list.value[0], np.uint8)
        yield (
            feature["item_id"].bytes_list.value[0].decode(),
            image.reshape(size, size, 3),
            background.reshape(size, size),
        )


def _picture(image: npt.NDArray[np.uint8], background: npt.NDArray[np.uint8]) -> bytes:
    painted = np.where(background[:, :, None] > 0, _PAINT, image)
    buffer = io.BytesIO()
    Image.fromarray(painted).save(buffer, format="PNG")
    return buffer.getvalue()


def _balance(counts: Mapping[str, int], taxonomy: Taxonomy) -> str:
    rows: list[tuple[object, ...]] = []
    for department in taxonomy.departments:
        total = counts.get(str(taxonomy.class_id(department)), 0)
        leaves = [leaf for leaf in taxonomy.leaves if taxonomy.department(leaf) == department]
        numbers = [(counts.get(str(taxonomy.class_id(leaf)), 0), leaf) for leaf in leaves]
        (least, rarest), (most, commonest) = min(numbers), max(numbers)
        rows.append(
            (
                taxonomy[department].name,
                total,
                len(leaves),
                f"{taxonomy[rarest].name} ({least})",
                f"{taxonomy[commonest].name} ({most})",
                sum(number == 0 for number, _ in numbers),
            )
        )
    columns = ("department", "images", "leaves", "fewest", "most", "leaves without images")
    return page.table(columns, rows)


def _rare(rare: Mapping[str, Mapping[str, Any]], taxonomy: Taxonomy) -> str:
    title = "<h3>Too rare to be a class</h3>"
    if not rare:
        return title + "<p>None: every label has training images enough.</p>"
    fewest_first = sorted(rare.items(), key=lambda entry: (entry[1]["images"], entry[0]))
    rows = [
        (
            taxonomy.names(taxon_id),
            one["images"],
            taxonomy.names(one["trained_as"]) or "its product alone",
        )
        for taxon_id, one in fewest_first[:_RARE_SHOWN]
    ]
    more = len(rare) - _RARE_SHOWN
    return (
        f"{title}<p>{len(rare):,} labels have fewer training images than "
        "transform.min_class_images: their items are trained as an ancestor, and keep their own "
        "label everywhere else.</p>"
        + page.table(("label", "training images", "trained as"), rows)
        + (f"<p>And {more:,} more in statistics.json.</p>" if more > 0 else "")
    )


def _dead(dead: Sequence[Reject], reasons: Mapping[str, int]) -> str:
    if not dead:
        return "<p>Every image could be decoded.</p>"
    counted = page.table(("reason", "images"), list(reasons.items()))
    listed = page.table(
        ("item", "reason", "detail"),
        [(reject.key, reject.reason, reject.detail) for reject in dead[:_DEAD_SHOWN]],
    )
    more = len(dead) - _DEAD_SHOWN
    tail = f"<p>And {more:,} more in dead_letters.jsonl.</p>" if more > 0 else ""
    return counted + listed + tail
