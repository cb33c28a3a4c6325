"""Compiles the pipelines and says whether a committed file is what it compiles to.

kfp builds the specification; the file is written here, with the components' bodies as blocks of
lines, so that a change of one line of code is a change of one line in the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import write_atomically
from pipelines.compiled import FILES
from pipelines.images import pin_images
from pipelines.kubernetes_overlay import Overlay
from pipelines.profile import COMMITTED, Profile, read_profile

_MOST_DIFF_LINES = 80


@dataclass(frozen=True)
class Options:
    """What a compilation is for; the defaults give the committed file.

    Attributes:
        profile: Resources by task.
        overlay: What only Kubernetes understands; a second document then follows.
        digests: Reference with digest by image's name; empty leaves the tags.
    """

    profile: Profile
    overlay: Overlay | None = None
    digests: Mapping[str, str] | None = None

    @classmethod
    def committed(cls) -> Options:
        """Returns the options of the committed files."""
        return cls(read_profile(COMMITTED))


def compile_documents(pipeline: str, options: Options) -> list[dict[str, Any]]:
    """Returns a compiled pipeline as documents: its specification, then Kubernetes' if asked for.

    Args:
        pipeline: `visual-search` or `release`.
        options: What it is for.

    Raises:
        InputError: There is no such pipeline, or an image has no digest.
    """
    from google.protobuf import json_format  # noqa: PLC0415 - comes with kfp, which takes a second
    from kfp import dsl  # noqa: PLC0415

    from pipelines.tasks import Target, compiling_for  # noqa: PLC0415

    defined = _definitions()[pipeline]
    info = defined.pipeline_spec.pipeline_info
    if options.profile.name != COMMITTED or options.overlay is not None:
        with compiling_for(Target(options.profile, options.overlay)):
            defined = dsl.pipeline(
                name=info.name, display_name=info.display_name, description=info.description
            )(defined.pipeline_func)
    document = json_format.MessageToDict(defined.pipeline_spec)
    if options.digests is not None:
        document = pin_images(document, options.digests)
    platform = json_format.MessageToDict(defined.platform_spec)
    return [document, platform] if platform else [document]


@cache
def _definitions() -> dict[str, Any]:
    from pipelines.release import release  # noqa: PLC0415 - kfp
    from pipelines.visual_search import visual_search  # noqa: PLC0415

    return {"visual-search": visual_search, "release": release}


def to_text(pipeline: str, options: Options, documents: list[dict[str, Any]]) -> str:
    """Returns the documents as YAML, with a line on where they come from."""
    module = pipeline.replace("-", "_")
    pinned = ", images pinned by digest" if options.digests is not None else ""
    head = (
        f"# Compiled from pipelines/{module}.py by `lookalike compile`; edit that instead.\n"
        f"# Profile: {options.profile.name}{pinned}.\n"
    )
    texts = [
        yaml.dump(document, Dumper=_dumper(), sort_keys=True, allow_unicode=True, width=100)
        for document in documents
    ]
    return head + "---\n".join(texts)


@cache
def _dumper() -> type[Any]:
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[valid-type,misc]
        """Writes texts of several lines as blocks."""

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


def compile_text(pipeline: str, options: Options | None = None) -> str:
    """Returns a pipeline as KFP IR in YAML; the committed form by default."""
    options = options or Options.committed()
    return to_text(pipeline, options, compile_documents(pipeline, options))


def write_compiled(pipeline: str, output: Path, options: Options | None = None) -> None:
    """Compiles, checks and writes a pipeline atomically.

    Raises:
        InputError: The committed file's place is asked for with other options.
        LookalikeError: What was compiled has faults.
    """
    from pipelines.lint import refuse_faults  # noqa: PLC0415 - kfp

    options = options or Options.committed()
    special = options.profile.name != COMMITTED or options.overlay or options.digests is not None
    if special and output.resolve() in {path.resolve() for path in FILES.values()}:
        raise InputError(
            f"{output}: this is the committed file, which carries the profile {COMMITTED} and "
            "tags; name another one with --output"
        )
    documents = compile_documents(pipeline, options)
    refuse_faults(documents, source=str(output))
    write_atomically(output, to_text(pipeline, options, documents))


def check_compiled(pipeline: str, path: Path) -> None:
    """Compares a compiled file with what the code compiles to, as parsed documents, and lints it.

    Raises:
        LookalikeError: They differ, with the differing lines; or the file has faults.
    """
    from pipelines.lint import refuse_faults  # noqa: PLC0415 - kfp

    options = Options.committed()
    fresh = compile_documents(pipeline, options)
    try:
        stored = path.read_text(encoding="utf-8")
        documents = list(yaml.load_all(stored, Loader=_loader()))
    except OSError:
        raise LookalikeError(
            f"{path}: expected the compiled pipeline, found no file; write it: lookalike compile"
        ) from None
    except yaml.YAMLError as error:
        raise LookalikeError(
            f"{path}: expected YAML; write it anew: lookalike compile ({error})"
        ) from None
    # Faults first: they are in the code or in a hand that edited the file, and say what to do.
    refuse_faults(documents, source=str(path))
    if documents == fresh:
        return
    lines = list(
        difflib.unified_diff(
            stored.splitlines(),
            to_text(pipeline, options, fresh).splitlines(),
            "committed",
            "compiled now",
            lineterm="",
            n=2,
        )
    )
    shown = "\n".join(lines[:_MOST_DIFF_LINES])
    more = len(lines) - _MOST_DIFF_LINES
    tail = f"\n... and {more} more lines" if more > 0 else ""
    raise LookalikeError(f"{path}: stale; write it anew: lookalike compile\n{shown}{tail}")


def _loader() -> Any:
    # Both are safe loaders; the C one is ten times as fast.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
