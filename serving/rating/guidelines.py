"""What raters are told: the grades, the rules, and examples with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

VERSION = "1"


@dataclass(frozen=True)
class Grade:
    """One possible answer.

    Attributes:
        value: What the form sends.
        key: What to press.
        name: In two words.
        text: In a sentence.
    """

    value: str
    key: str
    name: str
    text: str


GRADES = (
    Grade(
        "0", "0", "Unrelated",
        "A different kind of thing: nobody looking for one wants the other.",
    ),
    Grade(
        "1", "1", "Related",
        "Same corner of the shop or same use, but another type or a clearly different look.",
    ),
    Grade(
        "2", "2", "Similar",
        "Another product of the same type with a similar look: a shopper could buy it instead.",
    ),
    Grade(
        "3", "3", "Same product",
        "The very same product, perhaps from another side, in other light or before another "
        "background.",
    ),
    Grade(
        "cant_tell", "space", "Can't tell",
        "A picture is missing, broken, or does not show what is meant.",
    ),
)  # fmt: skip
BY_VALUE = {grade.value: grade for grade in GRADES}

RULES = (
    "Judge what you see: type, shape, material, colour, pattern, in this order.",
    "Background, light, angle and picture quality do not count.",
    "In a room scene, judge the product that the picture is about.",
    "Between two grades, take the lower one.",
    "Decide within a few seconds; the first impression is usually right. There is no hurry.",
    "Some pairs have known answers. They are there to measure the ratings, not to catch you.",
)

# Pictures by base name: the query, then the results from grade 3 down to 0.
EXAMPLES = (
    (
        "chair",
        "A white swivel chair with a blue cushion",
        {
            "3": "The same chair from the side.",
            "2": "Another chair of this kind: same shape and foot, other cushion, no arms.",
            "1": "Also for sitting, but a soft armchair: another type.",
            "0": "A lamp.",
        },
    ),
    (
        "sofa",
        "A beige two-seat sofa",
        {
            "3": "The same sofa from the other side.",
            "2": "Another sofa in a light colour; a shopper may take it instead.",
            "1": "Also for sitting, but a chair.",
            "0": "A lantern.",
        },
    ),
)


def example_names() -> tuple[str, ...]:
    """Returns the base names of all example pictures."""
    return tuple(
        name
        for query, _, results in EXAMPLES
        for name in (query, *(f"{query}_{grade}" for grade in results))
    )


def example_picture(name: str) -> bytes | None:
    """Returns an example's JPEG; None when there is none of that name."""
    if name not in example_names():
        return None
    return resources.files(__package__).joinpath(f"examples/{name}.jpg").read_bytes()
