"""How far a training image may stray from the catalog view."""

from __future__ import annotations

from dataclasses import dataclass

from components.contracts.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the augmentation; they describe phone photos in general, not any query set.

    Attributes:
        white_share: Share of images that keep their white background and milder colours, 0 to 1.
        scale: Smallest and largest share of the frame that the product fills.
        rotation: Standard deviation of the rotation, in degrees.
        shift: Largest shift of the product each way, as a share of the frame.
        shear: Largest shear each way, as a ratio.
        stretch: Largest change of the aspect ratio each way, in log units.
        white_balance: Standard deviation of each channel's gain.
        exposure: Standard deviation of the log of the exposure.
        saturation: Largest change of the saturation each way, as a ratio.
        contrast: Largest change of the contrast each way, as a ratio.
        noise: Largest standard deviation of pixel noise, as a share of white.
        blur: Largest weight of a 3x3 blur, 0 to 1.
        textures: How many background textures are drawn at the start.
    """

    white_share: float = 0.25
    scale: tuple[float, float] = (0.62, 1.08)
    rotation: float = 7.0
    shift: float = 0.08
    shear: float = 0.12
    stretch: float = 0.12
    white_balance: float = 0.09
    exposure: float = 0.15
    saturation: float = 0.3
    contrast: float = 0.25
    noise: float = 0.05
    blur: float = 1.0
    textures: int = 1024

    def __post_init__(self) -> None:
        """Refuses ranges that make no image.

        Raises:
            InputError: A field is out of its range; the message names it.
        """
        if not 0 <= self.white_share <= 1:
            raise InputError(
                "train.augmentation.white_share: expected 0 to 1, "
                f"received {self.white_share!r}; change it"
            )
        low, high = self.scale
        if not 0.1 <= low <= high <= 4:
            raise InputError(
                "train.augmentation.scale: expected a smallest and a largest share between 0.1 "
                f"and 4, received {self.scale!r}; change it"
            )
        if self.textures < 1:
            raise InputError(
                f"train.augmentation.textures: expected at least 1, received {self.textures!r}"
            )
