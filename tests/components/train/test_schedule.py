import pytest

from components.train.schedule import cosine_with_warmup


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.025),  # 0.1 * 1/4
        (3, 0.1),
        (4, 0.1),  # cos(0)
        (6, 0.05 * (1 + 2**-0.5)),  # a quarter of the way: cos(pi/4)
        (8, 0.05),  # half way
        (12, 0.0),  # the end
        (13, 0.0),
    ],
)
def test_a_rise_and_half_a_cosine(step, rate):
    value = cosine_with_warmup(step, peak=0.1, warmup_steps=4, total_steps=12)
    assert value == pytest.approx(rate, abs=1e-12)


def test_without_warm_up_the_peak_comes_first():
    assert cosine_with_warmup(0, peak=0.3, warmup_steps=0, total_steps=5) == 0.3
