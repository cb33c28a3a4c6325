"""`lookalike export-vertex`: which version it takes, and what it says."""

from __future__ import annotations

import sys

import pytest

from components.index.vertex_export import Exported
from pipelines.cli.main import main


@pytest.fixture
def asked(monkeypatch, tmp_path, make_bundle):
    """A registry with v1 live and v2 beside it; what the export was asked for."""
    from components.registry.registry import Registry

    registry = Registry.open(str(tmp_path / "registry"))
    for version in ("v1", "v2"):
        registry.publish_bundle(make_bundle(tmp_path / "built", version))
    registry.move("prod", to="v1", who="tests", why="first")
    calls = []

    def export(bundle, output, *, kind, since):
        version = (bundle / "index/vectors.npy").read_text().split()[2]
        before = (since / "index/vectors.npy").read_text().split()[2] if since else ""
        calls.append((version, before, kind, output.name))
        return Exported(version, before, 3, 1, 1)

    monkeypatch.setattr("components.index.vertex_export.export_vertex", export)
    monkeypatch.setenv("LOOKALIKE_REGISTRY", registry.uri)
    calls.append(tmp_path / "built")
    return calls


def run(*arguments):
    sys.argv = ["lookalike", "export-vertex", "--output", "out", *map(str, arguments)]
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_the_version_comes_from_a_channel_a_name_or_a_folder(asked, capsys):
    built = asked.pop()
    assert run("--channel", "prod") == 0
    assert run("--version", "v2", "--since", "v1", "--format", "avro") == 0
    assert run("--bundle", built / "v2") == 0
    assert asked == [
        ("v1", "", "json", "out"), ("v2", "v1", "avro", "out"), ("v2", "", "json", "out"),
    ]  # fmt: skip
    assert "since v1: 1 ids to remove" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give --channel or --version"),
        (["--channel", "empty"], "nothing is live"),
        (["--version", "v9"], "there is no version 'v9'"),
        (["--version", "v1", "--format", "csv"], "csv"),
    ],
)
def test_wrong_usage(asked, capsys, arguments, words):
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err
