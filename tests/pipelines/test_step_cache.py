"""What a code change makes run again, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.local import step_cache
from pipelines.local.step_cache import code_digest


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """A small code base with two steps, which no digest was taken of yet."""
    for name, text in {
        "components/index/step.py": "from components.contracts.files import write\n",
        "components/evaluate/step.py": "from components.registry.events import post\n",
        "components/contracts/files.py": "def write(): ...\n",
        "components/contracts/page.css": "b{}\n",
        "components/registry/events.py": "def post(): ...\n",
        "components/search/searcher.py": "K = 10\n",
        "serving/app.py": "PORT = 1\n",
        "pipelines/local/runner.py": "\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(step_cache, "_CODE_ROOT", tmp_path)
    code_digest.cache_clear()
    yield tmp_path
    code_digest.cache_clear()


def digests() -> dict[str, str]:
    code_digest.cache_clear()
    return {step: code_digest(step) for step in ("index", "evaluate")}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("components/index/step.py", {"index"}),
        ("components/evaluate/step.py", {"evaluate"}),
        ("components/contracts/files.py", {"index", "evaluate"}),
        ("components/contracts/page.css", {"index", "evaluate"}),
        # The step starts the real server, so the server is part of what it measures.
        ("serving/app.py", {"evaluate"}),
        ("pipelines/local/runner.py", set()),
    ],
)
def test_a_change_belongs_to_the_steps_that_it_can_reach(code, name, changed):
    before = digests()
    (code / name).write_text((code / name).read_text() + "# changed\n")
    after = digests()

    assert {step for step in before if before[step] != after[step]} == changed


def test_a_new_file_and_a_file_less_are_changes(code):
    before = digests()
    (code / "components/index/tune.py").write_text("")
    more = digests()
    (code / "components/index/tune.py").unlink()

    assert more["index"] != before["index"]
    assert digests() == before


def test_where_the_code_lies_does_not_matter(code, tmp_path_factory, monkeypatch):
    before = digests()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "code"
    code.rename(elsewhere)
    monkeypatch.setattr(step_cache, "_CODE_ROOT", elsewhere)

    assert digests() == before
