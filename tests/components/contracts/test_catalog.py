import pytest

from components.contracts import catalog
from components.contracts.catalog import Item, Query, Reject
from components.contracts.errors import InputError


def test_records_survive_a_round_trip(tmp_path):
    items = [Item("a", "/a.png", "0" * 64, "chair", "p", "Stühle", 2.5, "crowd", 0.9, {"k": "v"})]
    queries = [Query("q", "/q.png", "1" * 64, "", "chair")]
    rejects = [Reject("item", "b", "c.csv", 3, "empty_id", "expected item_id")]
    assert catalog.write_items(tmp_path / "i", items) == 1
    assert catalog.write_queries(tmp_path / "q", queries) == 1
    assert catalog.write_rejects(tmp_path / "r", rejects) == 1
    assert catalog.read_items(tmp_path / "i") == items
    assert catalog.read_queries(tmp_path / "q") == queries
    assert catalog.read_rejects(tmp_path / "r") == rejects


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query_id": "q", "colour": 1}', "line 1: unknown field 'colour'"),
        ('{"query_id": "q"}', "line 1: .*missing"),
    ],
)
def test_a_foreign_record_is_refused_with_its_line(tmp_path, line, message):
    (tmp_path / "q").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        catalog.read_queries(tmp_path / "q")


def test_unseen_takes_about_its_share_and_grows_with_it():
    products = [f"p{number}" for number in range(4000)]
    tenth = {product for product in products if catalog.is_unseen(product, fraction=0.1)}
    fifth = {product for product in products if catalog.is_unseen(product, fraction=0.2)}
    # Binomial(4000, 0.1) has a standard deviation of 19: five of them on either side.
    assert abs(len(tenth) - 400) < 95
    assert tenth < fifth
    assert not any(catalog.is_unseen(product, fraction=0.0) for product in products)
    assert all(catalog.is_unseen(product, fraction=1.0) for product in products)


def test_unseen_is_the_same_on_every_machine():
    # printf 'unseen:p0' | sha256sum gives 183fa2c240bbcc95..., which is 0.094721 of 2^64.
    assert catalog.is_unseen("p0", fraction=0.0948)
    assert not catalog.is_unseen("p0", fraction=0.0947)
