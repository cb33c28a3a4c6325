"""`python -m components.evaluate.clean_room`: the server's own process, from an empty directory.

Infra validation starts this in a process of its own. It makes every module that the serving image
would not hold impossible to import, downloads the candidate from the registry into an empty
directory, which checks every sum, and then becomes the server, by running the module that
it was told. It imports nothing of serving itself, and before the guard stands only the standard
library.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.importlib import MetaPathFinderProtocol


class Guard:
    """Stands before one of the interpreter's finders and hides what an image does not hold.

    To hide is to find nothing, as the finder would in the image: code that asks whether a package
    is there, as TensorFlow does, gets the image's answer and not an error.
    """

    def __init__(self, finder: MetaPathFinderProtocol, blocked: Sequence[str], log: Path) -> None:
        """Keeps the names; what is asked for and hidden goes to the log, one name a line.

        Args:
            finder: The finder to stand before.
            blocked: Dotted names; everything below them is hidden as well.
            log: File to append to.
        """
        self._finder = finder
        self._blocked = frozenset(blocked)
        self._log = log

    def __getattr__(self, name: str) -> object:
        """Passes everything else on: `find_distributions`, `invalidate_caches`."""
        return getattr(self._finder, name)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing under a hidden name, and what the finder finds under any other."""
        if name in self._blocked:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
            return None
        return self._finder.find_spec(name, path, target)


def parser() -> argparse.ArgumentParser:
    """Returns the parser; what it does not know goes to the server."""
    result = argparse.ArgumentParser(prog="python -m components.evaluate.clean_room")
    result.add_argument("--blocked", type=Path, required=True, help="JSON list of modules")
    result.add_argument("--refused", type=Path, required=True, help="file for what was refused")
    result.add_argument("--stages", type=Path, required=True, help="file for what was downloaded")
    result.add_argument("--registry", required=True, help="URI of the registry")
    result.add_argument("--version", required=True, help="version to download")
    result.add_argument("--target", type=Path, required=True, help="directory to make")
    result.add_argument("--server", required=True, help="module or .py file to become")
    return result


def main() -> None:
    """Guards, downloads, and becomes the server."""
    arguments, rest = parser().parse_known_args()
    blocked = json.loads(arguments.blocked.read_text(encoding="utf-8"))
    early = sorted(name for name in blocked if name in sys.modules)
    # Imported by the interpreter's own start, as .pth files do: nothing of ours asked for it.
    for name in early:
        del sys.modules[name]
    sys.meta_path[:] = [Guard(finder, blocked, arguments.refused) for finder in sys.meta_path]
    # Below the guard: reading the registry must work with the image's packages as well.
    from components.contracts.errors import LookalikeError  # noqa: PLC0415
    from components.contracts.files import write_json  # noqa: PLC0415
    from components.registry.registry import Registry  # noqa: PLC0415

    started = time.monotonic()
    try:
        Registry.open(arguments.registry).download_bundle(arguments.version, arguments.target)
    except LookalikeError as error:
        sys.exit(f"the candidate cannot be downloaded: {error}")
    seconds = time.monotonic() - started
    size = sum(path.stat().st_size for path in arguments.target.rglob("*") if path.is_file())
    write_json(arguments.stages, {"download_seconds": seconds, "download_bytes": size})
    sys.argv = [arguments.server, *rest]
    if arguments.server.endswith(".py"):
        runpy.run_path(arguments.server, run_name="__main__")
    else:
        runpy.run_module(arguments.server, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
