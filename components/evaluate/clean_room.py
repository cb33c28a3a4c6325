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


class Guard:
    """Makes modules as absent as they are in an image that does not hold them."""

    def __init__(self, blocked: Sequence[str], log: Path) -> None:
        """Keeps the names; what is asked for and refused goes to the log, one name a line.

        Args:
            blocked: Dotted names; everything below them is blocked as well.
            log: File to append to.
        """
        self._blocked = frozenset(blocked)
        self._log = log

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuses a blocked module as Python refuses one that is not installed."""
        del path, target
        if name in self._blocked:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
            raise ModuleNotFoundError(
                f"No module named {name!r} (it is installed here, but the serving image does not "
                "hold it)",
                name=name,
            )
        return None


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
    sys.meta_path.insert(0, Guard(blocked, arguments.refused))
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
