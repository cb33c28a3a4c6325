from __future__ import annotations

import csv
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from components.registry import query_log
from components.registry.object_store import open_store
from components.registry.query_log import Segment
from pipelines.cli.traffic_command import traffic

NOW = datetime.now(UTC)


@pytest.fixture
def store(tmp_path):
    store = open_store(str(tmp_path / "registry"))
    for days, share, items in [(0, 0.5, {"a": 3, "gone": 1}), (2, 1.0, {"a": 1, "b": 1})]:
        moment = NOW - timedelta(days=days)
        segment = Segment(moment, moment, share, "v1", items, {"9f": 2})
        query_log.write(store, "prod", segment)
    return store


def run(store, catalog, *arguments):
    return CliRunner().invoke(
        traffic,
        ["--registry", store.uri, "--channel", "prod", "--catalog", str(catalog), *arguments],
        catch_exceptions=False,
    )


def test_the_catalog_gets_weights_of_mean_one(store, tmp_path):
    catalog = tmp_path / "catalog.csv"
    catalog.write_text('item_id,image,title\na,a.jpg,"A, b"\nb,b.jpg,B\nc,c.jpg,C\n')
    out = tmp_path / "out.csv"
    result = run(store, catalog, "--out", str(out))
    assert result.exit_code == 0
    assert "10 queries" in result.output
    assert "2 of the catalog's 3 were asked about" in result.output
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # a: 3 / 0.5 + 1 / 1 = 7, b: 1, c: 0; one added to each: 8, 2, 1 with the mean 11 / 3.
    expected = [8 * 3 / 11, 2 * 3 / 11, 1 * 3 / 11]
    assert [float(row["traffic"]) for row in rows] == pytest.approx(expected, abs=1e-5)
    assert rows[0]["title"] == "A, b"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_formats_stay_what_they_are(store, tmp_path, kind):
    catalog = tmp_path / f"catalog.{kind}"
    rows = [{"item_id": "a", "traffic": 9.0}, {"item_id": "c", "traffic": 9.0}]
    from pipelines.cli.traffic_command import _table, _write_jsonl, _write_parquet

    (_write_jsonl if kind == "jsonl" else _write_parquet)(catalog, rows)
    assert run(store, catalog, "--out", str(catalog)).exit_code == 0
    read, _ = _table(catalog)
    assert [row["traffic"] for row in read] == pytest.approx([8 * 2 / 9, 1 * 2 / 9], abs=1e-5)


def test_a_half_life_makes_old_queries_count_less(store):
    found = list(query_log.segments(store, "prod", days=28))
    queries = query_log.estimated_queries(iter(found), half_life_days=2.0, now=NOW)
    assert queries["a"] == pytest.approx(6.5, abs=1e-3)
    assert queries["b"] == pytest.approx(0.5, abs=1e-3)


def test_days_that_are_too_old_and_broken_segments_are_left_out(store):
    assert len(list(query_log.segments(store, "prod", days=2))) == 1
    day = NOW.strftime("%Y-%m-%d")
    store.write(f"queries/prod/{day}/broken.jsonl", b'{"schema": 1}\n')
    store.write(f"queries/prod/{day}/strange.jsonl", b"nothing")
    assert len(list(query_log.segments(store, "prod", days=28))) == 2


def test_without_a_log_it_says_what_to_do(store, tmp_path):
    catalog = tmp_path / "catalog.csv"
    catalog.write_text("item_id,image\na,a.jpg\n")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.cli.main", "traffic", "--registry", store.uri),
            *("--channel", "other", "--catalog", str(catalog)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "serve with --query-log-share" in result.stderr.replace("\n", " ")


def test_without_out_nothing_is_written(store, tmp_path):
    catalog = tmp_path / "catalog.csv"
    catalog.write_text("item_id,image\na,a.jpg\n")
    assert "nothing was written" in run(store, catalog).output
    assert catalog.read_text() == "item_id,image\na,a.jpg\n"
