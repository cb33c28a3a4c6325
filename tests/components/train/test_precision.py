import pytest

from components.train.precision import resolve_precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_asked_for_is_used(precision):
    assert resolve_precision(precision) == precision


def test_auto_is_one_of_the_two():
    assert resolve_precision("auto") in {"float32", "bfloat16"}
