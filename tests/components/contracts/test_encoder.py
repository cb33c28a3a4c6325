import pytest

from components.contracts.encoder import EncoderCard, read_encoder, read_trained_products
from components.contracts.errors import InputError
from components.contracts.files import write_json


def test_reads_what_others_need_and_leaves_the_rest(tmp_path):
    write_json(
        tmp_path / "encoder.json", {"digest": "abc", "embedding_dim": 128, "architecture": {}}
    )
    assert read_encoder(tmp_path) == EncoderCard("abc", 128)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"digest": "", "embedding_dim": 8},
        {"digest": "a"},
        {"digest": "a", "embedding_dim": 0},
    ],
)
def test_refuses_a_card_that_says_too_little(tmp_path, value):
    write_json(tmp_path / "encoder.json", value)
    with pytest.raises(InputError, match=r"encoder\.json: expected a digest"):
        read_encoder(tmp_path)


def test_refuses_a_missing_card(tmp_path):
    with pytest.raises(InputError, match="found nothing there"):
        read_encoder(tmp_path)


def test_trained_products(tmp_path):
    assert read_trained_products(tmp_path) == frozenset()
    (tmp_path / "trained_products.txt").write_text("p1\np2\n\n")
    assert read_trained_products(tmp_path) == {"p1", "p2"}
