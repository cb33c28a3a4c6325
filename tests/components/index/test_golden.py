import numpy as np
import pytest
from PIL import Image

from components.contracts.catalog import Item
from components.contracts.files import read_json, sha256_file
from components.index.golden import ANSWERS_FILE, QUERIES_FILE, write_golden
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher


class Edge(ExactSearcher):
    """Cuts space in two at the first coordinate and never looks across, as a tree's leaves do."""

    def search(self, queries, k):
        indices, scores = super().search(queries, self.shape[0])
        found = np.full((len(queries), k), -1), np.full((len(queries), k), -1, np.float32)
        for number, query in enumerate(queries):
            near = (self.points[indices[number], 0] >= 0) == (query[0] >= 0)
            for filled, values in zip(found, (indices[number], scores[number]), strict=True):
                filled[number, : near.sum()] = values[near][:k]
        return found


@pytest.fixture
def index():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    searcher = Edge(vectors)
    searcher.points = vectors
    items = [Item(f"i{row}", "", "", "a", f"p{row}") for row in range(60)]
    return BundleIndex(items, vectors, searcher)


def write(index, bundle, queries, images=0):
    vectors = np.asarray(queries, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = [Item(f"q{row}", "", "", "a", f"q{row}") for row in range(len(vectors))]
    kept = write_golden(bundle, index, asked, vectors, k=3, images=images)
    names = [record["query_id"] for record in read_json(bundle / ANSWERS_FILE)["queries"]]
    return kept, names, np.load(bundle / QUERIES_FILE), vectors


def test_a_query_on_the_edge_of_what_the_index_reaches_is_no_golden_query(index, tmp_path):
    queries = [[0.5, 0.5, 0, 0], [1e-7, 0.5, 0.5, 0], [-0.5, 0.1, 0.5, 0]]
    _, names, written, vectors = write(index, tmp_path, queries)
    assert names == ["q0", "q2"]
    np.testing.assert_array_equal(written, vectors[[0, 2]])


def test_where_all_are_on_the_edge_all_are_kept(index, tmp_path):
    _, names, written, _ = write(index, tmp_path, [[1e-7, 0.5, 0.5, 0], [-1e-7, 0.5, 0, 0.5]])
    assert names == ["q0", "q1"]
    assert written.shape == (2, 4)


def test_photos_are_those_of_the_queries_that_were_kept(index, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8), "red").save(photo)
    vectors = np.asarray([[1e-7, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    asked = [Item(f"q{row}", str(photo), sha256_file(photo), "a", f"q{row}") for row in range(2)]
    assert write_golden(tmp_path, index, asked, vectors, k=3, images=2) == 1
    (record,) = read_json(tmp_path / ANSWERS_FILE)["queries"]
    assert (record["query_id"], record["image"]) == ("q1", "golden/images/000.png")
