"""What the index step is given wrong is refused by name, and nothing is published."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from components.contracts.bundle import read_manifest, verify
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import read_json, sha256_file, write_json
from components.index import step
from components.registry.registry import Registry
from components.search.retrieval import BundleIndex


@pytest.fixture
def ready(inputs):
    """Inputs as the step finds them, with an empty registry beside them."""
    write_json(inputs.checked / "summary.json", {})
    return inputs


def run(inputs, backend="auto"):
    return step.run(
        *(str(one) for one in (inputs.checked, inputs.encoder, inputs.embeddings)),
        str(inputs.root / "registry"),
        "none",
        "scratch",
        str(inputs.root / "bundle"),
        str(inputs.root / "report.html"),
        recall_target=0.9,
        seed=1,
        backend=backend,
        tuning_seconds=0,
    )


def published(inputs):
    return Registry.open(str(inputs.root / "registry")).versions()


def refused(inputs, message):
    with pytest.raises(LookalikeError, match=message):
        run(inputs)
    assert published(inputs) == []
    assert not (inputs.root / "bundle/manifest.json").exists()


def test_what_is_right_is_published(ready):
    version, digest = run(ready)
    assert published(ready) == [version]
    assert digest == sha256_file(ready.root / "bundle/manifest.json")


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, "'i07' with norm 0"), (np.nan, "'i07' with norm nan")]
)
def test_a_zero_vector_and_a_nan(ready, value, message):
    ready.vectors[7] = value
    ready.embed(range(30))
    refused(ready, message)


def test_an_item_embedded_twice(ready):
    ready.embed([*range(30), 4])
    refused(ready, "ids are unique, received twice: i04")


def test_items_that_look_the_same_are_all_found(ready, make_inputs, tmp_path):
    many = make_inputs(tmp_path / "many", items=200)
    write_json(many.checked / "summary.json", {})
    many.vectors[:] = many.vectors[0]
    many.embed(range(200))
    for backend in ("ah", "tree_ah"):
        run(many, backend)
        hits = BundleIndex.load(many.root / "bundle").answer(many.vectors[:1], 10)[0]
        assert len(set(hits.product_ids)) == 10


def test_another_dimension_than_the_encoders(ready):
    write_json(ready.encoder / "encoder.json", {"digest": "e" * 64, "embedding_dim": 9})
    refused(ready, "expected 9 dimensions as the encoder says, found 8")


def test_vectors_of_another_encoder(ready):
    write_json(ready.embeddings / "summary.json", {**ready.summary, "encoder_digest": "f" * 64})
    refused(ready, "vectors of two encoders cannot be compared")


@pytest.mark.parametrize("items", [1, 3])
def test_fewer_items_than_k_are_a_catalog(make_inputs, tmp_path, items):
    few = make_inputs(tmp_path / "few", items=items, queries=1)
    write_json(few.checked / "summary.json", {})
    version, _ = run(few)
    assert published(few) == [version]
    hits = BundleIndex.load(few.root / "bundle").answer(few.query_vectors, 10)[0]
    assert 1 <= len(hits) <= items


@pytest.mark.parametrize("backend", ["ah", "tree_ah"])
def test_too_few_items_to_quantise(make_inputs, tmp_path, backend):
    few = make_inputs(tmp_path / "few", items=15)
    write_json(few.checked / "summary.json", {})
    with pytest.raises(InputError, match="at least 16 rows"):
        run(few, backend)
    assert published(few) == []


def test_a_build_that_is_killed_publishes_nothing_and_starts_afresh(ready):
    code = (
        "import os, signal, sys\n"
        "from components.index import build, step\n"
        "build.write_golden = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "step.run(*sys.argv[1:], recall_target=0.9, seed=1)\n"
    )
    places = (ready.checked, ready.encoder, ready.embeddings, ready.root / "registry")
    arguments = [*map(str, places), "none", "scratch", str(ready.root / "bundle"), "r.html"]
    killed = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        cwd=ready.root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert killed.returncode == -signal.SIGKILL
    assert (ready.root / "bundle/index/vectors.npy").exists()
    assert not (ready.root / "bundle/manifest.json").exists()
    assert published(ready) == []
    version, _ = run(ready)
    assert published(ready) == [version]
    assert verify(ready.root / "bundle") == []


def test_one_byte_flipped_in_each_file_in_turn(make_inputs, tmp_path):
    many = make_inputs(tmp_path / "many", items=60)
    write_json(many.checked / "summary.json", {})
    _, digest = run(many, "tree_ah")
    bundle = many.root / "bundle"
    other = Registry.open(str(many.root / "other"))
    names = list(read_manifest(bundle).files)
    assert {"index/scann/hashed_dataset.npy", "index/item_ids.npy", "golden/queries.npy"} <= set(
        names
    )
    for name in names:
        path = bundle / name
        good = path.read_bytes()
        for at in {0, len(good) // 2, len(good) - 1}:
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            with pytest.raises(LookalikeError, match=f"{name}: expected SHA-256"):
                other.publish_bundle(bundle)
        path.write_bytes(good)
    manifest = bundle / "manifest.json"
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b'"version"', b'"versioN"'))
    with pytest.raises(InputError, match="unknown fields: versioN; missing: version"):
        other.publish_bundle(bundle)
    # A flip that still reads is another manifest: verdicts name the digest of the right one.
    assert sha256_file(manifest) != digest
    assert other.versions() == []


def test_a_manifest_from_a_newer_schema(ready):
    run(ready)
    path = ready.root / "bundle/manifest.json"
    write_json(path, {**read_json(path), "schema": 2})
    other = Registry.open(str(ready.root / "other"))
    with pytest.raises(InputError, match="expected schema 1, received 2; a newer lookalike"):
        other.publish_bundle(ready.root / "bundle")
    assert other.versions() == []
