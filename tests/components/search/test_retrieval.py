import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts.catalog import Item, write_items
from components.contracts.errors import InputError
from components.search import searcher as search
from components.search.retrieval import BundleIndex, Hits, recall_of
from components.search.searcher import ExactSearcher, IndexParameters


def item(item_id, product_id):
    return Item(
        item_id=item_id,
        image=f"{item_id}.png",
        content_hash=item_id,
        taxon_id="root",
        product_id=product_id,
    )


def circle(*degrees):
    angles = np.deg2rad(np.array(degrees, np.float64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def index_of(products, vectors, parameters=None):
    items = [item(f"i{number}", product) for number, product in enumerate(products)]
    return BundleIndex(items, vectors, search.build(vectors, parameters or IndexParameters()))


# By angle from a query at 0: i1 (5, B), i0 (10, A), i2 (20, A), i3 (30, B), i4 (50, C)
INDEX = index_of(["A", "B", "A", "B", "C"], circle(10, 5, 20, 30, 50))


def test_one_image_a_product_is_its_best_view():
    [hits] = INDEX.answer(circle(0), 3)
    assert hits.item_ids == ["i1", "i0", "i4"]
    assert hits.product_ids == ["B", "A", "C"]
    assert hits.positions == [1, 0, 4]
    np.testing.assert_allclose(hits.scores, np.cos(np.deg2rad([5, 10, 50])), atol=1e-6)


def test_every_image_when_asked_for():
    [hits] = INDEX.answer(circle(0), 4, one_per_product=False)
    assert hits.item_ids == ["i1", "i0", "i2", "i3"]


def test_excluded_products_differ_by_query():
    first, second = INDEX.answer(circle(0, 0), 5, exclude_products=[{"A"}, ["B", "C", "unknown"]])
    assert first.product_ids == ["B", "C"]
    assert second.product_ids == ["A"]


def test_excluding_without_collapsing():
    [hits] = INDEX.answer(circle(0), 2, one_per_product=False, exclude_products=[{"B"}])
    assert hits.item_ids == ["i0", "i2"]


def test_fetches_more_until_the_answer_is_full():
    # 40 views of one product lie before the two others.
    vectors = circle(*np.linspace(0, 4, 40), 50, 60)
    index = index_of(["A"] * 40 + ["B", "C"], vectors)
    asked = []
    original = index.searcher.search

    def spy(queries, k):
        asked.append((len(queries), k))
        return original(queries, k)

    index.searcher.search = spy
    near, far = index.answer(circle(0, 60), 2)
    assert near.product_ids == ["A", "B"]
    assert far.product_ids == ["C", "B"]
    # The second query was full at once and is not asked again.
    assert asked == [(2, 8), (1, 16), (1, 32), (1, 42)]


def test_fewer_products_than_asked_for():
    [hits] = INDEX.answer(circle(0), 10)
    assert len(hits) == 3


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    products=st.integers(1, 12),
    k=st.integers(1, 15),
    collapse=st.booleans(),
)
def test_agrees_with_the_plain_loop(seed, products, k, collapse):
    rng = np.random.default_rng(seed)
    owners = [f"p{number}" for number in rng.integers(0, products, 40)]
    vectors = rng.standard_normal((43, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = index_of(owners, vectors[:40])
    excluded = [set(), {"p0"}, {"p0", "p1"}]
    answers = index.answer(vectors[40:], k, one_per_product=collapse, exclude_products=excluded)
    for query, left_out, hits in zip(vectors[40:], excluded, answers):
        expected, seen = [], set()
        for position in np.argsort(-(vectors[:40] @ query), kind="stable"):
            owner = owners[position]
            if owner in left_out or (collapse and owner in seen):
                continue
            seen.add(owner)
            expected.append(f"i{position}")
        assert hits.item_ids == expected[:k]


def test_approximate_index_answers_through_the_same_door():
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    parameters = IndexParameters(backend="tree_ah", leaves=10, leaves_to_search=2, reorder=30)
    index = index_of([f"p{number // 4}" for number in range(400)], vectors, parameters)
    answers = index.answer(vectors[:7], 100)
    assert [len(hits) for hits in answers] == [100] * 7
    assert all(len(set(hits.product_ids)) == 100 for hits in answers)
    assert [hits.item_ids[0] for hits in answers] == [f"i{number}" for number in range(7)]


def test_scores_never_leave_the_cosine_range():
    vector = np.full((1, 3), 1 / np.sqrt(3) + 1e-6, np.float32)
    [hits] = index_of(["A"], vector).answer(vector, 1)
    assert hits.scores == [1.0]


def hits(*positions):
    ids = [f"i{position}" for position in positions]
    scores = (circle(0) @ INDEX.vectors[list(positions)].T)[0].tolist() if positions else []
    return Hits(ids, [INDEX.items[position].product_id for position in positions], scores,
                list(positions))  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [([1, 0, 4], 1.0), ([1, 0], 2 / 3), ([1, 4], 2 / 3), ([], 0.0), ([1, 0, 2], 1.0)],
)
def test_recall_by_hand(found, expected):
    # The best answer: i1, i0, i4; i2 is nearer than i4 (another view), so it counts as well.
    best = INDEX.exact().answer(circle(0), 3)
    assert recall_of(INDEX, circle(0), [hits(*found)], best).tolist() == [pytest.approx(expected)]


def test_recall_of_nothing_is_unknown():
    assert np.isnan(recall_of(INDEX, circle(0), [hits(1)], [hits()])).all()


def test_equally_similar_items_are_equally_right():
    index = index_of(["A", "B", "C"], circle(10, -10, 20))
    best = [Hits(["i0"], ["A"], [float(np.cos(np.deg2rad(10)))], [0])]
    found = [Hits(["i1"], ["B"], [float(np.cos(np.deg2rad(10)))], [1])]
    assert recall_of(index, circle(0), found, best).tolist() == [1.0]


def test_first():
    assert hits(1, 0, 4).first(2) == hits(1, 0)


def test_lookups():
    assert "i3" in INDEX
    assert "other" not in INDEX
    assert INDEX.position("i3") == 3
    assert INDEX.item("i3").product_id == "B"
    np.testing.assert_array_equal(INDEX.vector("i3"), circle(30))
    with pytest.raises(KeyError):
        INDEX.position("other")


def test_exclusions_must_match_the_queries():
    with pytest.raises(InputError, match="received 1 for 2 queries"):
        INDEX.answer(circle(0, 1), 1, exclude_products=[{"A"}])


def test_items_and_vectors_must_match():
    vectors = circle(1, 2)
    with pytest.raises(InputError, match="received 1 items, 2 vectors"):
        BundleIndex([item("a", "A")], vectors, ExactSearcher(vectors))


def _write(directory):
    items = [item("ä", "A"), item("longer-id", "B")]
    write_items(directory / "items.jsonl", items)
    vectors = circle(0, 90)
    search.save(ExactSearcher(vectors), vectors, directory)
    np.save(directory / "index/item_ids.npy", np.array([entry.item_id for entry in items]))


def test_load(tmp_path):
    _write(tmp_path)
    index = BundleIndex.load(tmp_path)
    [hits] = index.answer(circle(80), 2)
    assert hits.item_ids == ["longer-id", "ä"]
    assert index.exact().answer(circle(80), 2) == [hits]


def test_load_refuses_ids_of_another_build(tmp_path):
    _write(tmp_path)
    np.save(tmp_path / "index/item_ids.npy", np.array(["longer-id", "ä"]))
    with pytest.raises(InputError, match="different builds"):
        BundleIndex.load(tmp_path)


def test_load_refuses_pickled_ids(tmp_path):
    _write(tmp_path)
    np.save(
        tmp_path / "index/item_ids.npy", np.array(["ä", "longer-id"], object), allow_pickle=True
    )
    with pytest.raises(InputError, match="expected a npy file of item ids"):
        BundleIndex.load(tmp_path)
