"""Compiles the pipeline and says whether the committed file is what it compiles to."""

from __future__ import annotations

import difflib
import tempfile
from pathlib import Path

import yaml

from components.contracts.errors import LookalikeError
from components.contracts.files import write_atomically
from pipelines.compiled import VISUAL_SEARCH

_MOST_DIFF_LINES = 60


def compile_pipeline() -> str:
    """Returns the visual-search pipeline as KFP IR in YAML."""
    from kfp import compiler  # noqa: PLC0415 - two seconds; --help does not need it

    from pipelines.visual_search import visual_search  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(visual_search, str(path))
        return path.read_text(encoding="utf-8")


def write_compiled(output: Path = VISUAL_SEARCH) -> None:
    """Compiles and writes the pipeline atomically."""
    write_atomically(output, compile_pipeline())


def check_compiled(path: Path = VISUAL_SEARCH) -> None:
    """Compares a compiled file with what the code compiles to, as parsed documents.

    Raises:
        LookalikeError: They differ; the message has the differing lines.
    """
    fresh = compile_pipeline()
    try:
        stored = path.read_text(encoding="utf-8")
    except OSError:
        raise LookalikeError(
            f"{path}: expected the compiled pipeline, found no file; write it: lookalike compile"
        ) from None
    if list(yaml.safe_load_all(stored)) == list(yaml.safe_load_all(fresh)):
        return
    lines = list(
        difflib.unified_diff(
            stored.splitlines(), fresh.splitlines(), "committed", "compiled now", lineterm="", n=1
        )
    )
    shown = "\n".join(lines[:_MOST_DIFF_LINES])
    more = len(lines) - _MOST_DIFF_LINES
    tail = f"\n... and {more} more lines" if more > 0 else ""
    raise LookalikeError(f"{path}: stale; write it anew: lookalike compile\n{shown}{tail}")
