"""Parameters of the embed step."""

from __future__ import annotations

from dataclasses import dataclass

from components.contracts.beam_options import check_form
from components.contracts.errors import InputError
from components.contracts.images import ImageLimits


@dataclass(frozen=True)
class EmbedConfig:
    """How images become vectors.

    Attributes:
        batch_size: Images that one call of the encoder takes.
        max_reject_share: Largest share of the images in [0, 1] that may come to nothing before
            the step stops; one bad image never stops it.
        rows_per_shard: Most rows in one Parquet file, and about twice the fewest: small enough
            that a day's changes leave most files as they are, large enough for a million items.
        beam_options: Options for Apache Beam as on its command line, such as
            `--runner=DataflowRunner`; none runs inside this process.
        max_image_bytes: Largest encoded image, in bytes.
        max_image_pixels: Largest width x height, in pixels.
        min_image_side: Smallest width and height, in pixels.
    """

    batch_size: int = 64
    max_reject_share: float = 0.02
    rows_per_shard: int = 4096
    beam_options: tuple[str, ...] = ()
    max_image_bytes: int = 20 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    min_image_side: int = 8

    def __post_init__(self) -> None:
        """Refuses values without a meaning."""
        for name in ("batch_size", "rows_per_shard"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"embed.{name}: expected at least 1, received {getattr(self, name)}"
                )
        if not 0 <= self.max_reject_share <= 1:
            raise InputError(
                "embed.max_reject_share: expected a share from 0 to 1, received "
                f"{self.max_reject_share}"
            )
        check_form(self.beam_options, "embed.beam_options")

    @property
    def image_limits(self) -> ImageLimits:
        """The bounds in the form that `components.contracts.images` takes."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels, self.min_image_side)

    @property
    def limits_key(self) -> str:
        """The bounds as text: vectors of images that other bounds let in are not taken over."""
        return f"{self.max_image_bytes}-{self.max_image_pixels}-{self.min_image_side}"
