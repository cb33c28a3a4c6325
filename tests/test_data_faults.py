"""catalog, transform and embed over what fails around them: a store that fails a fifth of the
reads, a disk that is full."""

from __future__ import annotations

import csv
import errno
import gc
import importlib
import importlib.util
import os
import sys
import time
import types
import warnings
from pathlib import Path

import pytest

from components.contracts import bucket_images, catalog
from components.contracts.errors import LookalikeError

ROOT = Path(__file__).parents[1]
COUNT = 24


def loaded(name: str, path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def engines(monkeypatch):
    """The steps' calls and the encoder of the tests on other engines."""
    return loaded("beam_engines", ROOT / "tests/test_beam_engines.py", monkeypatch)


def checked_catalog(folder: Path, images: list[str]) -> Path:
    from components.catalog.check import check_catalog
    from components.catalog.config import CatalogConfig

    folder.mkdir(exist_ok=True)
    (folder / "taxonomy.csv").write_text(
        "taxon_id,parent_id,name\nroot,,All\nseating,root,Seating\nchair,seating,Chairs\n"
    )
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("item_id", "image", "taxon_id", "product_id"))
        writer.writerows((f"i{n}", one, "chair", f"p{n}") for n, one in enumerate(images))
    counts = check_catalog(
        catalog=str(folder / "catalog.csv"),
        taxonomy=str(folder / "taxonomy.csv"),
        votes="",
        queries="",
        previous_taxonomy=None,
        config=CatalogConfig(),
        output=folder / "checked",
        report=folder / "report.html",
    )
    assert (counts["items"], counts["rejects"]) == (len(images), 0)
    return folder / "checked"


@pytest.mark.gcs
def test_a_store_that_fails_a_fifth_of_the_reads_costs_nothing_but_time(
    engines, dev_mini, tmp_path, monkeypatch
):
    fake_gcs = loaded("fake_gcs", ROOT / "tests/benchmarks/fake_gcs.py", monkeypatch)
    pictures = sorted((dev_mini / "images").glob("*.jpg"))[:COUNT]
    # Whatever the client library waits between two tries, a test need not.
    unary = importlib.import_module("google.api_core.retry.retry_unary")
    patient = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None)
    monkeypatch.setattr(unary, "time", patient)
    with fake_gcs.fake_gcs_server() as address:
        fake_gcs.make_bucket(address, "shop-images")
        faults = fake_gcs.Faults(refused=0.1, lost=0.05, torn=0.05, seed=3)
        proxy = fake_gcs.FaultyProxy(address, fake_gcs.Faults())
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.address)
        bucket_images._client.cache_clear()
        client = bucket_images._client(os.getpid())
        for path in pictures:
            client.bucket("shop-images").blob(path.name).upload_from_filename(str(path))
        proxy.faults = faults
        remote = checked_catalog(
            tmp_path / "remote", [f"gs://shop-images/{path.name}" for path in pictures]
        )
        there = engines.transformed(remote, tmp_path / "there")
        encoder = engines.save_encoder(tmp_path / "encoder")
        vectors = engines.embedded(remote, encoder, tmp_path / "v1")
        failed = [fate for _, _, fate in proxy.requests if fate != "passed"]
        client.close()
        bucket_images._client.cache_clear()
        proxy.close()
    # The client library forgets answers that it did not read to the end, with their sockets.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    # Each step reads each image, with two requests: a fifth of 144, about, went wrong.
    assert len(failed) > COUNT // 2
    local = tmp_path / "local/images"
    local.mkdir(parents=True)
    for path in pictures:
        (local / path.name).write_bytes(path.read_bytes())
    here = checked_catalog(tmp_path / "local", [f"images/{path.name}" for path in pictures])
    assert engines.contents(there) == engines.contents(engines.transformed(here, tmp_path / "here"))
    assert vectors == engines.embedded(here, encoder, tmp_path / "v2")
    assert (len(vectors[0]), vectors[1]) == (COUNT, [])


def test_a_disk_that_fills_up_in_transform_is_told_and_the_next_run_finishes(
    engines, dev_mini, tmp_path, monkeypatch
):
    import tensorflow as tf

    checked = engines.small_catalog(tmp_path, dev_mini)
    write, written = tf.io.TFRecordWriter.write, []

    def full(self, record):
        written.append(record)
        if len(written) == 20:
            raise tf.errors.ResourceExhaustedError(None, None, "part-1; No space left on device")
        write(self, record)

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", full)
    with pytest.raises(LookalikeError, match=r"transform: the disk is full \(.*part-1"):
        engines.transformed(checked, tmp_path / "out")
    engines.nothing_is_taken_for_whole(tmp_path / "out")
    monkeypatch.setattr(tf.io.TFRecordWriter, "write", write)
    found = engines.transformed(checked, tmp_path / "out")
    assert (found / "statistics.json").exists()
    assert not list(found.rglob("*.partial"))


def test_a_disk_that_fills_up_in_embed_is_told_and_the_next_run_finishes(
    engines, dev_mini, tmp_path, monkeypatch
):
    from components.embed import pipeline

    checked = engines.small_catalog(tmp_path, dev_mini)
    encoder = engines.save_encoder(tmp_path / "encoder")
    write = pipeline.pq.write_table

    def full(table, path, **more):
        write(table, path, **more)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(pipeline.pq, "write_table", full)
    with pytest.raises(LookalikeError, match="embed: the disk is full"):
        engines.embedded(checked, encoder, tmp_path / "out")
    assert not (tmp_path / "out/summary.json").exists()
    assert not list((tmp_path / "out").rglob("*.parquet"))
    monkeypatch.setattr(pipeline.pq, "write_table", write)
    vectors, dead = engines.embedded(checked, encoder, tmp_path / "out")
    items = catalog.read_items(checked / catalog.ITEMS_FILE)
    assert vectors.keys() | {one["key"] for one in dead} == {item.item_id for item in items}
