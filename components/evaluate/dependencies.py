"""Which modules the serving image holds, and which of this machine's it does not.

The serving image installs what the extra `serving` names and what that needs, nothing else. On a
machine with more, such as a laptop or CI, a server that secretly needs more would start all the
same; with this list it can be started as if the rest were not there.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

from packaging.requirements import InvalidRequirement, Requirement

from components.contracts.errors import LookalikeError

DISTRIBUTION = "lookalike"
EXTRA = "serving"
_MODULE = re.compile(r"(?:\.(?:py|so|pyd)|\.cpython-[\w-]+\.so|\.abi3\.so)$")


@cache
def of_the_image() -> tuple[frozenset[str], tuple[str, ...]]:
    """Returns the serving image's packages and the modules of this machine that it lacks.

    Raises:
        LookalikeError: Something that the server needs is not installed.
    """
    installed = installed_distributions()
    inside = closure(DISTRIBUTION, EXTRA, installed)
    return inside, outside(inside, installed)


def closure(
    distribution: str, extra: str, installed: dict[str, metadata.Distribution]
) -> frozenset[str]:
    """Returns a distribution and all that it needs with an extra, as normalised names.

    Args:
        distribution: Where to begin.
        extra: Its extra.
        installed: The installed distributions by normalised name.

    Raises:
        LookalikeError: The distribution, or something that it needs, is not installed.
    """
    reached: set[tuple[str, str]] = set()
    pending = [(normalised(distribution), extra)]
    while pending:
        name, wanted = pending.pop()
        if (name, wanted) in reached:
            continue
        if name not in installed:
            raise LookalikeError(
                f"the server needs the package {name}, which is not installed; install "
                f"{DISTRIBUTION}[{EXTRA}]"
            )
        reached.add((name, wanted))
        for text in _requires(installed[name]):
            try:
                needed = Requirement(text)
            except InvalidRequirement:
                continue
            if needed.marker is None or needed.marker.evaluate({"extra": wanted}):
                extras = ("", *needed.extras)
                pending += [(normalised(needed.name), one) for one in extras]
    return frozenset(name for name, _ in reached)


def outside(inside: Iterable[str], installed: dict[str, metadata.Distribution]) -> tuple[str, ...]:
    """Returns the modules of all distributions but some, as the fewest names that cover them.

    Distributions may share a package, as `google` is shared by dozens: a name is listed only where
    no distribution inside has anything under it.

    Args:
        inside: Normalised names of the distributions that may be imported.
        installed: The installed distributions by normalised name.

    Returns:
        Dotted names, sorted: importing one of them, or anything below it, leaves the inside.
    """
    kept = set(inside)
    ours: set[str] = set()
    theirs: set[str] = set()
    for name, distribution in installed.items():
        (ours if name in kept else theirs).update(_modules(distribution))
    return tuple(
        sorted(name for name in theirs - ours if "." not in name or name.rpartition(".")[0] in ours)
    )


def installed_distributions() -> dict[str, metadata.Distribution]:
    """Returns the installed distributions by normalised name, the first on the path of each.

    What a build leaves in a working tree (`.egg-info`) may be old and yields to what is installed.
    """
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if not name:
            continue
        before = found.setdefault(normalised(name), distribution)
        if before.read_text("RECORD") is None and distribution.read_text("RECORD") is not None:
            found[normalised(name)] = distribution
    return found


def normalised(name: str) -> str:
    """Returns a distribution's name as the packaging index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requires(distribution: metadata.Distribution) -> Sequence[str]:
    """Returns a distribution's requirements, of an editable one as its project says them now.

    What an editable installation recorded is as old as the installation.
    """
    recorded = distribution.requires or ()
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if not origin.get("dir_info", {}).get("editable"):
            return recorded
        path = Path(unquote(urlparse(origin["url"]).path)) / "pyproject.toml"
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {})
    except (OSError, ValueError, KeyError):
        return recorded
    return [
        *project.get("dependencies", ()),
        *(f"{text}; extra == '{extra}'" for extra, texts in extras.items() for text in texts),
    ]


def _modules(distribution: metadata.Distribution) -> set[str]:
    """Returns the dotted names of a distribution's modules and of the packages above them."""
    names: set[str] = set()
    for path in distribution.files or ():
        if path.parts[0] in ("..", "__pycache__") or not _MODULE.search(path.name):
            continue
        parts = (*path.parts[:-1], path.name.split(".", 1)[0])
        if not all(part.isidentifier() for part in parts):
            continue
        dotted = parts[:-1] if parts[-1] == "__init__" else parts
        names.update(".".join(dotted[: depth + 1]) for depth in range(len(dotted)))
    return names
