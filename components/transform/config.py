"""The settings of the transform step."""

from __future__ import annotations

from dataclasses import dataclass

from components.contracts.beam_options import check_form
from components.contracts.errors import InputError
from components.contracts.images import ImageLimits


@dataclass(frozen=True)
class TransformConfig:
    """How images become training examples.

    Attributes:
        stored_size: Side of the stored square images, in pixels.
        unseen_fraction: Share of the products in [0, 1] that is never trained on and is
            reported apart.
        min_class_images: Fewest training images of a class: a leaf with fewer is trained as the
            nearest ancestor that has as many, its subtree counted; 1 trains every leaf.
        background_white: Darkest value in [0, 255] that every channel of a pixel may have for
            the pixel to count as the white around a product.
        halo_white: The same for the one pixel next to that white, where JPEG rings and resizing
            mixes product and background.
        examples_per_shard: Examples in one TFRecord file, about; more files mix better.
        min_train_shards: Fewest training files, so that every training worker has its own.
        max_reject_share: Largest share of the images in [0, 1] that may be undecodable before
            the step stops; one bad image never stops it.
        batch_size: Images that one call of the TensorFlow graph takes.
        workers: Processes of the local Beam runner; 1 runs inside this process, 0 takes one for
            each CPU where there are images enough to be worth their start.
        beam_options: Options for Apache Beam as on its command line, such as
            `--runner=FlinkRunner`; none uses the local runner.
        max_image_bytes: Largest encoded image, in bytes.
        max_image_pixels: Largest width x height, in pixels.
        min_image_side: Smallest width and height, in pixels.
    """

    stored_size: int = 72
    unseen_fraction: float = 0.1
    min_class_images: int = 2
    background_white: int = 248
    halo_white: int = 214
    examples_per_shard: int = 256
    min_train_shards: int = 4
    max_reject_share: float = 0.02
    batch_size: int = 32
    workers: int = 0
    beam_options: tuple[str, ...] = ()
    max_image_bytes: int = 20 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    min_image_side: int = 8

    def __post_init__(self) -> None:
        """Refuses settings that could not be meant."""
        if not 0 <= self.unseen_fraction < 1:
            raise InputError(
                "transform.unseen_fraction: expected a share from 0 to below 1, received "
                f"{self.unseen_fraction}"
            )
        if not 0 <= self.max_reject_share <= 1:
            raise InputError(
                "transform.max_reject_share: expected a share from 0 to 1, received "
                f"{self.max_reject_share}"
            )
        for name in ("background_white", "halo_white"):
            if not 0 <= getattr(self, name) <= 255:
                raise InputError(
                    f"transform.{name}: expected 0 to 255, received {getattr(self, name)}"
                )
        for name in ("min_class_images", "examples_per_shard", "min_train_shards", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"transform.{name}: expected 1 or more, received {getattr(self, name)}"
                )
        if self.workers < 0:
            raise InputError(f"transform.workers: expected 0 or more, received {self.workers}")
        if not 16 <= self.stored_size <= 1024:
            raise InputError(
                f"transform.stored_size: expected 16 to 1024 pixels, received {self.stored_size}"
            )
        check_form(self.beam_options, "transform.beam_options")

    @property
    def image_limits(self) -> ImageLimits:
        """The bounds in the form that `components.contracts.images` takes."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels, self.min_image_side)
