import dataclasses
import json

import numpy as np
import pytest

from components.contracts.bundle import MANIFEST_FILE
from components.contracts.catalog import Query
from components.contracts.errors import InputError
from components.contracts.files import read_json, read_json_lines, sha256_file
from components.contracts.near_duplicates import NEAR_DUPLICATES_FILE, NearDuplicates
from components.contracts.verdict import Verdict


def failures(verdict):
    return {(check.name, check.slice) for check in verdict.failures}


def test_a_good_candidate_passes_and_everything_is_written(world):
    embeddings, bundle = world.bundle()
    verdict = world.evaluate(
        embeddings, bundle, min_leaf_hit_at_10=0.9, min_product_recall_at_10=0.7
    )
    assert verdict.status == "pass", verdict.summary()
    assert verdict.manifest_digest == sha256_file(bundle / MANIFEST_FILE)
    assert (verdict.gate, verdict.writer, verdict.incumbent) == ("offline", "evaluate", "")
    output = world.root / "evaluation"
    assert Verdict.from_json(read_json(output / "verdict.json")).status == "pass"
    metrics = read_json(output / "metrics.json")
    assert metrics["shopper"]["leaf_hit_at_10"] >= 0.9
    assert metrics["shopper"]["queries"] == 24
    # The first four products were never trained on.
    assert metrics["shopper_unseen"]["queries"] == 4
    assert metrics["items_unseen"]["queries"] == 8
    assert metrics["items"]["queries"] == 48
    assert metrics["index"]["recall_at_10"] == 1.0
    assert set(metrics["departments"]) == {"seating", "tables"}
    assert metrics["departments"]["tables"]["shopper"]["queries"] == 12
    assert not (output / "results/incumbent.jsonl").exists()
    assert any("no incumbent" in note for note in verdict.notes)
    assert any("server was not started" in note for note in verdict.notes)


def test_copies_of_what_was_trained_on_are_not_unseen(world):
    embeddings, bundle = world.bundle()
    products = sorted({item.product_id for item in world.items})
    # The first four were not trained on; the first shares an image with one that was, the second
    # with the third.
    NearDuplicates(products=((products[0], products[9]), (products[1], products[2]))).write(
        world.checked / NEAR_DUPLICATES_FILE
    )
    world.evaluate(embeddings, bundle)
    metrics = read_json(world.root / "evaluation/metrics.json")
    assert metrics["shopper_unseen"]["queries"] == 3
    assert metrics["items_unseen"]["queries"] == 6


def test_answers_hold_one_image_a_product(world):
    embeddings, bundle = world.bundle()
    world.evaluate(embeddings, bundle)
    lines = list(read_json_lines(world.root / "evaluation/results/candidate.jsonl"))
    assert len(lines) == 24 + 48
    for line in lines:
        products = [result["product_id"] for result in line["results"]]
        assert len(products) == len(set(products)) == 10
        if line["kind"] == "item":
            assert line["product_id"] not in products
        scores = [result["score"] for result in line["results"]]
        assert scores == sorted(scores, reverse=True)


def test_noise_for_an_encoder_fails_by_quality(world):
    embeddings, bundle = world.bundle(quality=0.0)
    verdict = world.evaluate(
        embeddings, bundle, min_leaf_precision_at_10=0.5, min_product_recall_at_10=0.7
    )
    assert failures(verdict) == {
        ("leaf_precision_at_10", "shopper"),
        ("product_recall_at_10", "shopper"),
        ("better_than_chance", "items"),
    }


def test_the_first_candidate_of_a_channel_takes_the_bootstrap_path(world):
    embeddings, bundle = world.bundle()
    verdict = world.evaluate(embeddings, bundle, min_leaf_hit_at_10=0.5)
    by_name = {(check.name, check.slice): check for check in verdict.checks}
    assert by_name["bootstrap", "all"].status == "pass"
    assert "held against 1 absolute thresholds" in by_name["bootstrap", "all"].reason
    # 6 of 24 products have the leaf of a photo; of the 23 others of an item, 5.
    for part, chance in (("shopper", 6 / 24), ("items", 5 / 23)):
        check = by_name["better_than_chance", part]
        mean = read_json(world.root / "evaluation/metrics.json")[part]["leaf_precision_at_10"]
        assert check.observed == pytest.approx(mean - chance)
    second = world.evaluate(embeddings, bundle, incumbent=bundle)
    assert not {"bootstrap", "better_than_chance"} & {check.name for check in second.checks}


def test_a_first_candidate_that_nothing_can_be_measured_on_fails(world):
    world.queries = []
    world.write()
    embeddings, bundle = world.bundle()
    world.items = [dataclasses.replace(item, taxon_id="root") for item in world.items]
    world.write()
    verdict = world.evaluate(embeddings, bundle)
    assert ("bootstrap", "all") in failures(verdict)


def test_vectors_and_answers_are_checked_against_the_incumbent(world):
    embeddings, bundle = world.bundle()
    verdict = world.evaluate(embeddings, bundle, incumbent=bundle)
    by_name = {(check.name, check.slice): check for check in verdict.checks}
    assert by_name["embedding_drift", "all"].observed < 1e-6
    assert by_name["overlap_at_10", "items"].observed == 1.0
    assert "with the same encoder" in by_name["overlap_at_10", "shopper"].reason
    repeated = by_name["near_duplicates", "items"]
    assert repeated.observed == repeated.incumbent
    assert by_name["embedding_norm", "all"].status == "pass"


def test_answers_that_have_nothing_to_do_with_yesterdays_fail(world):
    _, live = world.bundle("live", digest="live-encoder")
    embeddings, bundle = world.bundle("new", digest="new-encoder")
    world.embed(
        "live", quality=0.9, digest="", queries_directory="queries_incumbent", output=embeddings
    )
    verdict = world.evaluate(embeddings, bundle, incumbent=live, min_overlap=1.0, resamples=300)
    passing = {(check.name, check.slice) for check in verdict.checks} - failures(verdict)
    assert ("overlap_at_10", "items") in passing  # The same vectors by another name.
    worse, other = world.bundle("other", quality=0.2, digest="other-encoder")
    world.embed("live", quality=0.9, digest="", queries_directory="queries_incumbent", output=worse)
    verdict = world.evaluate(worse, other, incumbent=live, min_overlap=0.99)
    assert ("overlap_at_10", "items") in failures(verdict)


def test_the_incumbent_is_asked_the_same_with_its_own_encoder(world):
    theirs, live = world.bundle("live", quality=0.9, digest="live-encoder")
    embeddings, bundle = world.bundle("worse", quality=0.3, digest="worse-encoder")
    world.embed(
        "live", quality=0.9, digest="", queries_directory="queries_incumbent", output=embeddings
    )
    verdict = world.evaluate(embeddings, bundle, incumbent=live)
    assert verdict.status == "fail"
    assert verdict.incumbent == "live-version"
    assert ("leaf_precision_at_10_change", "shopper") in failures(verdict)
    assert ("leaf_precision_at_10_change", "items:tables") in failures(verdict)
    metrics = read_json(world.root / "evaluation/metrics.json")
    ours, before = metrics["shopper"], metrics["shopper_incumbent"]
    assert ours["leaf_precision_at_10"] < before["leaf_precision_at_10"] - 0.1
    assert 0 < metrics["shopper_overlap_at_10"] < 1
    check = next(c for c in verdict.checks if c.name == "leaf_precision_at_10_change")
    assert check.observed == pytest.approx(
        ours["leaf_precision_at_10"] - before["leaf_precision_at_10"]
    )
    lines = list(read_json_lines(world.root / "evaluation/results/incumbent.jsonl"))
    assert len(lines) == 24 + 48

    # And the other way round: the better candidate passes.
    world.embed(
        "worse", quality=0.3, digest="", queries_directory="queries_incumbent", output=theirs
    )
    better = world.evaluate(theirs, live, incumbent=bundle)
    assert better.status == "pass", better.summary()


def test_the_same_encoder_needs_no_second_vectors(world):
    embeddings, bundle = world.bundle()
    verdict = world.evaluate(embeddings, bundle, incumbent=bundle)
    assert verdict.status == "pass", verdict.summary()
    changes = [check for check in verdict.checks if check.name.endswith("_change")]
    assert {check.observed for check in changes} == {0.0}
    assert read_json(world.root / "evaluation/metrics.json")["items_overlap_at_10"] == 1.0


def test_an_incumbent_with_another_encoder_but_without_vectors_is_refused(world):
    _, live = world.bundle("live", digest="live-encoder")
    embeddings, bundle = world.bundle("new", digest="new-encoder")
    with pytest.raises(InputError, match="run the embed step with this incumbent"):
        world.evaluate(embeddings, bundle, incumbent=live)


def test_items_that_the_incumbent_does_not_know_are_not_compared(world):
    _, live = world.bundle("live")
    world.items[0] = dataclasses.replace(world.items[0], content_hash="f" * 64)
    world.write()
    embeddings, bundle = world.bundle("new")
    world.evaluate(embeddings, bundle, incumbent=live)
    metrics = read_json(world.root / "evaluation/metrics.json")
    assert (metrics["items"]["queries"], metrics["items_incumbent"]["queries"]) == (48, 47)


def test_without_photos_the_items_are_judged_alone(world):
    world.queries = []
    world.write()
    embeddings, bundle = world.bundle()
    verdict = world.evaluate(embeddings, bundle, min_item_leaf_precision_at_10=0.3)
    assert verdict.status == "pass", verdict.summary()
    assert any("no shopper photos" in note for note in verdict.notes)
    assert read_json(world.root / "evaluation/metrics.json")["shopper"] == {}
    demanding = world.evaluate(embeddings, bundle, min_leaf_hit_at_10=0.1)
    assert failures(demanding) == {("leaf_hit_at_10", "shopper")}


def test_photos_without_a_known_product_have_no_product_recall(world):
    world.queries = [dataclasses.replace(query, product_id="") for query in world.queries]
    world.write()
    embeddings, bundle = world.bundle()
    world.evaluate(embeddings, bundle)
    shopper = read_json(world.root / "evaluation/metrics.json")["shopper"]
    assert "product_recall_at_10" not in shopper
    assert shopper["leaf_hit_at_10"] > 0.5


def test_photos_that_could_not_be_embedded_are_mentioned(world):
    embeddings, bundle = world.bundle()
    world.queries.append(Query("q-broken", "gone.png", "0" * 64, "p00", "sofa"))
    world.write()
    verdict = world.evaluate(embeddings, bundle)
    assert "1 of 25 photos have no vector and are left out." in verdict.notes


def test_too_little_of_the_catalog_indexed_fails(world):
    embeddings, bundle = world.bundle()
    late = [dataclasses.replace(item, item_id=f"late-{item.item_id}") for item in world.items]
    world.items += late
    world.write()
    verdict = world.evaluate(embeddings, bundle)
    assert ("coverage", "all") in failures(verdict)
    [check] = [check for check in verdict.checks if check.name == "coverage"]
    assert "48 of 96 items" in check.reason


def test_an_index_that_misses_neighbours_fails(world, monkeypatch):
    from components.search.searcher import ExactSearcher

    embeddings, bundle = world.bundle()
    original = ExactSearcher.search

    def forgetful(self, vectors, k):
        if not forgetful.on:
            return original(self, vectors, k)
        indices, scores = original(self, vectors, k + 4)
        return indices[:, 4:], scores[:, 4:]

    from components.search.retrieval import BundleIndex

    plain = BundleIndex.exact

    def exact(self):
        forgetful.on = False
        return plain(self)

    forgetful.on = True
    monkeypatch.setattr(ExactSearcher, "search", forgetful)
    monkeypatch.setattr(BundleIndex, "exact", exact)
    verdict = world.evaluate(embeddings, bundle)
    assert ("index_recall_at_10", "all") in failures(verdict)


@pytest.mark.parametrize("name", ["index/vectors.npy", "taxonomy.csv", "golden/answers.json"])
def test_one_flipped_byte_fails_and_nothing_of_the_bundle_is_loaded(world, name):
    embeddings, bundle = world.bundle()
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(bytes(data))
    verdict = world.evaluate(embeddings, bundle, server=None)
    assert failures(verdict) == {("bundle_whole", "all")}
    assert name in verdict.checks[0].reason
    assert read_json(world.root / "evaluation/verdict.json")["status"] == "fail"


def test_a_server_that_fails_fails_the_verdict(world):
    embeddings, bundle = world.bundle()
    verdict = world.evaluate(embeddings, bundle, server="nowhere.serving")
    assert failures(verdict) == {("server_starts", "all")}


def test_the_same_evaluation_twice_says_the_same(world):
    embeddings, bundle = world.bundle()
    first = world.evaluate(embeddings, bundle)
    written = json.dumps(read_json(world.root / "evaluation/metrics.json"))
    second = world.evaluate(embeddings, bundle)
    assert first.checks == second.checks
    assert written == json.dumps(read_json(world.root / "evaluation/metrics.json"))
    assert np.isfinite([check.observed for check in first.checks if check.observed]).all()
