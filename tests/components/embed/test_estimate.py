import pytest

from components.embed.estimate import announcement


@pytest.mark.parametrize(
    ("compute", "rate", "expected"),
    [
        (0, 50.0, "0 of 20,600 images are computed"),
        (400, 0.0, "400 of 20,600 images are computed"),
        (400, 50.0, "400 of 20,600 images are computed, about 8 s at 50 images a second (then)"),
        (20_600, 50.0, "about 7 min at 50 images a second"),
        (20_600, 1.5, "about 3.8 h at 2 images a second"),
    ],
)
def test_what_is_said_before_it_begins(compute, rate, expected):
    said = announcement(compute, 20_600, rate=rate, source="then", why="")
    assert expected in said
    assert announcement(compute, 20_600, rate=rate, source="then", why="new").startswith("new: ")
