"""How long the computing will take, said before it begins."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from pathlib import Path

from components.contracts.images import BadImageError, ImageLimits, admit, read_image
from components.embed.model import EncoderHandler

# Below this, loading the encoder takes longer than the work; nobody plans with such a figure.
WORTH_MEASURING = 2_000
_BATCHES = 3


def measured_rate(
    saved_model: Path, images: Iterable[str], *, batch_size: int, limits: ImageLimits
) -> float:
    """Encodes a few of the images and returns how many a second; 0 where none can be read.

    Args:
        saved_model: The encoder.
        images: Where images lie; the first that can be read are taken.
        batch_size: Images a call.
        limits: Bounds on images.
    """
    handler = EncoderHandler(str(saved_model), batch_size=batch_size)
    model = handler.load_model()
    wanted = batch_size * _BATCHES
    start = time.monotonic()
    taken = [
        data
        for image in itertools.islice(images, 2 * wanted)
        if (data := _admitted(image, limits)) is not None
    ][:wanted]
    if not taken:
        return 0.0
    reading = time.monotonic() - start
    # The first call traces and places the graph: it says nothing about the others.
    handler.run_inference([taken[:batch_size]], model)
    start = time.monotonic()
    handler.run_inference([taken], model)
    return len(taken) / (time.monotonic() - start + reading)


def _admitted(image: str, limits: ImageLimits) -> bytes | None:
    try:
        return admit(read_image(image, limits), limits)
    except BadImageError:
        return None


def announcement(compute: int, total: int, *, rate: float, source: str, why: str) -> str:
    """Returns what is about to be computed, in one sentence.

    Args:
        compute: Images to compute.
        total: All images.
        rate: Images a second, 0 when unknown.
        source: Where the rate comes from.
        why: Why nothing can be taken over; empty where something can.
    """
    what = f"{compute:,} of {total:,} images are computed"
    if why:
        what = f"{why}: {what}"
    if not rate or not compute:
        return what
    return f"{what}, about {_duration(compute / rate)} at {rate:,.0f} images a second ({source})"


def _duration(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60)):
        if seconds < limit:
            return f"{max(seconds / size, 1):.0f} {unit}"
    return f"{seconds / 3600:.1f} h"
