import os
import shutil
import time
from pathlib import Path

import pytest

from components.contracts.bundle import read_manifest
from components.contracts.files import read_json, write_json
from components.evaluate import server
from components.evaluate.config import EvaluateConfig
from components.evaluate.server_process import Launch

FAKE = str(Path(__file__).with_name("fake_server.py"))
CONFIG = EvaluateConfig(server_requests=5)
EVERYTHING = {
    "server_dependencies",
    "server_downloads",
    "server_starts",
    "server_version",
    "golden_photos",
    "golden_items",
    "server_refuses_garbage",
    "server_full_k",
    "server_search_p95_ms",
    "server_memory_mb",
}


@pytest.fixture
def validate(world, tmp_path, monkeypatch):
    _, bundle = world.bundle()
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))

    registry = world.publish(bundle)

    def run(mode="", config=CONFIG, program=FAKE, registry=registry):
        monkeypatch.setenv("MODE", mode)
        launch = Launch(registry, read_manifest(bundle).version, server=program)
        checks, figures = server.validate(bundle, launch, config)
        return {check.name: check for check in checks}, figures

    run.bundle, run.registry = bundle, Path(registry)
    return run


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.server
def test_a_registry_named_by_a_path_from_here_is_found(validate, monkeypatch):
    monkeypatch.chdir(validate.registry.parent)
    checks, _ = validate(registry=validate.registry.name)
    assert {check.status for check in checks.values()} == {"pass"}


@pytest.mark.server
def test_a_good_server_passes_and_is_measured_and_is_gone(validate, tmp_path):
    checks, figures = validate()
    assert set(checks) == EVERYTHING
    assert {check.status for check in checks.values()} == {"pass"}
    assert "3 golden photos" in checks["golden_photos"].reason
    assert 0 < figures["search_p50_ms"] <= figures["search_p95_ms"] <= figures["search_p99_ms"]
    assert figures["similar_p50_ms"] > 0
    assert figures["memory_mb"] > 1
    assert figures["start_seconds"] > 0
    assert figures["full_k"] == 1
    assert figures["download_bytes"] > 10_000
    assert "serving image alone" in checks["server_dependencies"].reason
    assert not is_running(int((tmp_path / "pid").read_text()))


@pytest.mark.server
@pytest.mark.parametrize(
    ("mode", "failing", "reason"),
    [
        ("other_scores", "golden_photos", "3 of 3 golden photos otherwise than recorded"),
        ("own_product", "golden_items", "items otherwise than recorded"),
        ("other_version", "server_version", "it said"),
        ("short_answers", "server_full_k", "had fewer or more results than there are to find"),
        ("takes_garbage", "server_refuses_garbage", "should get a 4xx, it got 200"),
    ],
)
def test_what_is_wrong_is_named(validate, mode, failing, reason):
    checks, _ = validate(mode)
    assert {name for name, check in checks.items() if check.status == "fail"} == {failing}
    assert reason in checks[failing].reason
    assert set(checks) == EVERYTHING


@pytest.mark.server
def test_a_server_that_dies_says_why(validate):
    checks, figures = validate("dies")
    assert set(checks) == {"server_starts"}
    assert checks["server_starts"].status == "fail"
    assert "ended with 1 before it was ready: the index is broken" in checks["server_starts"].reason
    assert figures == {}


@pytest.mark.server
def test_a_server_that_hangs_is_ended(validate):
    started = time.monotonic()
    checks, _ = validate("hangs", EvaluateConfig(server_start_seconds=1.5))
    assert time.monotonic() - started < 15
    assert "not ready after 1.5 s" in checks["server_starts"].reason


@pytest.mark.server
def test_slow_answers_fail_in_time_and_the_server_is_ended(validate, tmp_path):
    started = time.monotonic()
    checks, _ = validate("slow", EvaluateConfig(server_seconds=1))
    assert time.monotonic() - started < 15
    assert checks["server_starts"].status == "pass"
    assert checks["server_answers"].status == "fail"
    assert not is_running(int((tmp_path / "pid").read_text()))


@pytest.mark.server
def test_a_module_that_is_not_there(validate):
    checks, _ = validate(program="nowhere.serving")
    assert checks["server_starts"].status == "fail"
    assert "nowhere" in checks["server_starts"].reason


@pytest.mark.server
def test_a_server_that_needs_more_than_its_image_holds_does_not_start(validate):
    checks, _ = validate("needs_more")
    assert set(checks) == {"server_starts"}
    assert "No module named 'kfp'" in checks["server_starts"].reason
    assert "the serving image does not hold it" in checks["server_starts"].reason


@pytest.mark.server
def test_what_the_image_lacks_is_absent_and_no_error(validate, monkeypatch):
    # As TensorFlow asks for tf_keras when TensorFlow Transform has run in the process above.
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    checks, _ = validate("asks_whether")
    assert set(checks) == EVERYTHING


@pytest.mark.server
def test_what_a_server_can_do_without_is_named(validate):
    checks, _ = validate("does_without")
    assert set(checks) == EVERYTHING
    assert "it did without pandas" in checks["server_dependencies"].reason


@pytest.mark.server
def test_a_server_that_grows_past_its_memory_is_ended(validate):
    started = time.monotonic()
    checks, _ = validate("grows", EvaluateConfig(max_server_memory_mb=150))
    assert time.monotonic() - started < 30
    assert "above the limit of 150 MiB" in checks["server_starts"].reason


@pytest.mark.server
def test_what_is_downloaded_must_have_its_sums(validate):
    path = next(validate.registry.rglob("index/vectors.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    checks, _ = validate()
    assert set(checks) == {"server_starts"}
    assert "cannot be downloaded" in checks["server_starts"].reason
    assert "index/vectors.npy" in checks["server_starts"].reason
    shutil.rmtree(validate.registry / "bundles")
    checks, _ = validate()
    assert "there is no version" in checks["server_starts"].reason


@pytest.mark.server
def test_limits_on_time_and_memory(validate):
    config = EvaluateConfig(server_requests=2, max_search_p95_ms=1e-4, max_server_memory_mb=1e6)
    checks, _ = validate(config=config)
    assert checks["server_search_p95_ms"].status == "fail"
    assert checks["server_memory_mb"].status == "pass"


@pytest.mark.server
def test_a_bundle_without_golden_photos_is_asked_about_items(validate):
    path = validate.bundle / "golden/answers.json"
    golden = read_json(path)
    golden["queries"] = [{**record, "image": ""} for record in golden["queries"]]
    write_json(path, golden)
    checks, figures = validate()
    assert set(checks) == EVERYTHING - {"golden_photos"}
    assert "search_p50_ms" not in figures


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([("a", 0.9), ("b", 0.8)], ""),
        ([("a", 0.9004), ("b", 0.7996)], ""),
        ([("a", 0.9), ("x", 0.8)], ""),  # As similar as the last one: rounding decides.
        ([("x", 0.9), ("b", 0.8)], "place 1: received 'x'"),
        ([("a", 0.9), ("b", 0.79)], "place 2: expected the score 0.80000"),
        ([("b", 0.9), ("a", 0.8)], "place 1: received 'b'"),
        ([("a", 0.9)], "expected 2 results, received 1"),
        ([("a", None), ("b", 0.8)], "received None"),
    ],
)
def test_difference(results, message):
    found = server.difference(
        [("a", 0.9), ("b", 0.8)], [{"item_id": i, "score": s} for i, s in results]
    )
    assert message in found
    assert bool(found) == bool(message)
