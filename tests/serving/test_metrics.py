from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import Metrics
from serving.telemetry import Telemetry

CREATED = "2026-11-22T12:00:00+00:00"


def samples(metrics: Metrics, **options) -> dict[tuple[str, tuple[str, ...]], float]:
    """Returns what a scraper reads: (name, label values in order of the names) to value."""
    text = metrics.render(**options).decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_thing_that_is_told_is_heard():
    told = {name for name in vars(Telemetry) if not name.startswith("_")}
    assert told <= set(vars(Metrics))


def test_requests_are_counted_and_timed_by_route():
    metrics = Metrics()
    metrics.request("/v1/items/{item_id}/similar", "GET", 200, 0.003)
    metrics.request("/v1/items/{item_id}/similar", "GET", 200, 0.2)
    metrics.request("unmatched", "BREW", 404, 0.001)
    found = samples(metrics)
    route = "/v1/items/{item_id}/similar"
    assert found["lookalike_requests_total", ("GET", route, "200")] == 2
    assert found["lookalike_requests_total", ("other", "unmatched", "404")] == 1
    assert found["lookalike_request_seconds_bucket", ("0.005", route)] == 1
    assert found["lookalike_request_seconds_bucket", ("+Inf", route)] == 2
    assert found["lookalike_request_seconds_sum", (route,)] == pytest.approx(0.203)


def test_stages_batches_answers_and_sheds():
    metrics = Metrics()
    metrics.stage("/v1/search", "encode", 0.02)
    metrics.encoder_batch(7, 0.05)
    metrics.search_batch(3, 0.001)
    metrics.answered("/v1/search", asked=10, found=0, filtered=False, version="v1")
    metrics.answered("/v1/search", asked=10, found=4, filtered=True, version="v1")
    metrics.shed("/v1/search", "queue_full")
    found = samples(metrics)
    assert found["lookalike_stage_seconds_count", ("/v1/search", "encode")] == 1
    assert found["lookalike_encoder_batch_images_bucket", ("4.0",)] == 0
    assert found["lookalike_encoder_batch_images_bucket", ("8.0",)] == 1
    assert found["lookalike_search_batch_queries_sum", ()] == 3
    assert found["lookalike_answers_total", ("/v1/search", "v1")] == 2
    assert found["lookalike_empty_answers_total", ("/v1/search",)] == 1
    assert found["lookalike_starved_answers_total", ("/v1/search",)] == 1
    assert found["lookalike_shed_requests_total", ("queue_full", "/v1/search")] == 1


def test_the_index_tells_version_size_and_age():
    metrics = Metrics()
    now = datetime(2026, 11, 22, 15, tzinfo=UTC)
    metrics.swapped("v1", CREATED, 10, {"sums": 0.5})
    metrics.swapped("v2", CREATED, 12, {"sums": 0.25})
    metrics.load_failed("v3", "damaged")
    found = samples(metrics, now=now)
    assert found["lookalike_index_info", ("v1",)] == 0
    assert found["lookalike_index_info", ("v2",)] == 1
    assert found["lookalike_index_items", ()] == 12
    assert found["lookalike_index_age_seconds", ()] == 3 * 3600
    assert found["lookalike_load_seconds", ("sums",)] == 0.25
    assert found["lookalike_swaps_total", ()] == 2
    assert found["lookalike_failed_loads_total", ()] == 1


def test_versions_of_long_ago_are_forgotten():
    metrics = Metrics()
    for number in range(50):
        metrics.swapped(f"v{number}", CREATED, 1, {})
    infos = [key for key in samples(metrics) if key[0] == "lookalike_index_info"]
    assert len(infos) == 2


def test_following_shadow_and_log():
    metrics = Metrics()
    metrics.source(stale=True, reason="no network")
    metrics.withdrawn(3)
    metrics.compared(
        live="v1", other="v2", overlap=0.8, live_seconds=0.001, other_seconds=0.002,
        other_empty=True,
    )  # fmt: skip
    metrics.stepped_back("v2", "slow")
    metrics.logged_queries(written=5, dropped=2)
    metrics.refused("bad_credentials")
    found = samples(metrics)
    assert found["lookalike_channel_unreadable", ()] == 1
    assert found["lookalike_channel_read_failures_total", ()] == 1
    assert found["lookalike_withdrawn_items", ()] == 3
    assert found["lookalike_shadow_overlap_sum", ("v2",)] == pytest.approx(0.8)
    assert found["lookalike_shadow_seconds_sum", ("other", "v2")] == pytest.approx(0.002)
    assert found["lookalike_shadow_empty_answers_total", ("v2",)] == 1
    assert found["lookalike_canary_step_backs_total", ()] == 1
    assert found["lookalike_query_log_lines_total", ("dropped",)] == 2
    assert found["lookalike_access_refusals_total", ("bad_credentials",)] == 1
    metrics.source(stale=False, reason="")
    assert samples(metrics)["lookalike_channel_unreadable", ()] == 0


def test_several_processes_are_summed(tmp_path):
    code = (
        "import sys\n"
        "from serving.metrics import Metrics\n"
        "metrics = Metrics()\n"
        "metrics.request('/x', 'GET', 200, 0.1)\n"
        f"metrics.swapped('v1', '{CREATED}', 7, {{}})\n"
        "sys.stdout.write(metrics.render().decode())\n"
    )
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""},
        )  # fmt: skip
    lines = run.stdout.splitlines()
    assert 'lookalike_requests_total{method="GET",route="/x",status="200"} 2.0' in lines
    assert "lookalike_index_items 7.0" in lines
    assert 'lookalike_index_info{version="v1"} 1.0' in lines
