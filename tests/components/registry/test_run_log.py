from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from components.registry import run_log
from components.registry.registry import Registry


@pytest.fixture
def store(tmp_path):
    return Registry.open(str(tmp_path)).store


def test_what_is_recorded_is_read_back(store):
    run_log.record(store, "run-1", "gates", {"outcome": "passed"})

    assert run_log.read(store, "run-1", "gates") == {"outcome": "passed"}
    assert run_log.read(store, "run-1", "promotion") is None


def test_a_step_that_is_tried_again_replaces_its_own_part(store):
    run_log.record(store, "run-1", "gates", {"outcome": "refused"})
    run_log.record(store, "run-1", "gates", {"outcome": "passed"})

    assert run_log.read(store, "run-1", "gates") == {"outcome": "passed"}


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff"])
def test_a_damaged_record_is_refused_by_its_key(store, data):
    store.write("runs/run-1/gates.json", data)

    with pytest.raises(InputError, match=r"runs/run-1/gates\.json"):
        run_log.read(store, "run-1", "gates")


@pytest.mark.parametrize("run", ["", "../x", "a/b", "{{$.pipeline_job_uuid}}", "x" * 129])
def test_a_run_that_cannot_be_a_key_is_refused(store, run):
    with pytest.raises(InputError, match="expected letters"):
        run_log.record(store, run, "gates", {})
