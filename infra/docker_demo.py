"""Runs the compiled pipeline on this machine in its images; `make docker-demo` runs it.

The very file that a cluster gets, by kfp's DockerRunner: each step in a container of its own, as
nobody in particular, without a network, on a root file system that cannot be written.

    python infra/docker_demo.py --catalog C.csv --taxonomy T.csv --workspace DIR --config FILE.yaml
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from components.contracts.errors import LookalikeError  # noqa: E402
from components.registry.policy import Policy  # noqa: E402
from components.registry.registry import Registry  # noqa: E402
from infra import images  # noqa: E402
from pipelines.compiled import VISUAL_SEARCH, settable  # noqa: E402
from pipelines.images import images_of  # noqa: E402
from pipelines.local.ir import read_pipeline  # noqa: E402
from pipelines.settings import read_values  # noqa: E402

# Who the images run as unless told otherwise.
NOBODY = (10001, 10001)


def run(inputs: dict[str, Path], workspace: Path, settings: dict[str, Any]) -> str:
    """Runs the pipeline in containers, up to promotion on the channel `demo`.

    Args:
        inputs: The tables by parameter: `catalog`, `taxonomy` and, where there are any, `votes`
            and `queries`.
        workspace: Folder for the results and the registry.
        settings: Further parameters of the pipeline.

    Returns:
        The version that is live now.

    Raises:
        LookalikeError: A step failed, left no result, or the candidate was refused.
        ImageError: No engine answers, or an image is missing.
    """
    from kfp import components, local  # noqa: PLC0415 - takes seconds

    images.require_engine()
    for image in step_images():
        images.size(image)
    registry_path, results = workspace / "registry", workspace / "results"
    owner = prepare(workspace, registry_path, results)
    registry = Registry.open(str(registry_path))
    before = registry.channel("demo").live
    local.init(
        runner=local.DockerRunner(**containment(owner, [*inputs.values()], registry_path)),
        pipeline_root=str(results),
    )
    started = time.time()
    # Names, processors and memory are a cluster's business; kfp says so for every step.
    warnings.filterwarnings("ignore", message=".*no effect in the current local runner.*")
    try:
        components.load_component_from_file(str(VISUAL_SEARCH))(
            **{name: str(path) for name, path in inputs.items()},
            registry=str(registry_path),
            channel="demo",
            raters="simulated",
            **settings,
        )
    except RuntimeError as error:
        raise LookalikeError(f"docker-demo: {error}") from None
    ran = check_results(results, since=started)
    live = registry.channel("demo").live
    if not live or live == before:
        raise LookalikeError(
            f"docker-demo: {', '.join(ran)} ran, and the channel still points to "
            f"{before or 'nothing'}: the candidate was refused; its notes are in {results}"
        )
    return live


def step_images() -> dict[str, list[str]]:
    """Returns, by image, the pipeline's executors that run in it."""
    document = yaml.safe_load(VISUAL_SEARCH.read_text(encoding="utf-8"))
    executors: dict[str, list[str]] = {}
    for name, image in sorted(images_of(document).items()):
        executors.setdefault(image, []).append(name.removeprefix("exec-"))
    return executors


def prepare(workspace: Path, registry: Path, results: Path) -> tuple[int, int]:
    """Makes the folders that containers write to.

    Returns:
        The user and the group that the containers run as: the caller, so that the results are
        the caller's; never root.
    """
    for folder in (workspace, registry, results):
        folder.mkdir(parents=True, exist_ok=True)
    Registry.open(str(registry)).set_policy("demo", Policy(allow_simulated=True))
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    for path in (workspace, *workspace.rglob("*")):
        os.chown(path, *NOBODY, follow_symlinks=False)
    return NOBODY


def containment(owner: tuple[int, int], inputs: Sequence[Path], registry: Path) -> dict[str, Any]:
    """Returns Docker's arguments for a step: what it sees, and how little it may.

    Args:
        owner: User and group.
        inputs: Tables; the folders around them, with the images, are mounted read-only.
        registry: Mounted as it is.
    """
    import docker  # noqa: PLC0415 - only who runs containers needs it

    folders = sorted({path.parent for path in inputs})
    bind = docker.types.Mount
    return {
        "user": f"{owner[0]}:{owner[1]}",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        # Inside the container.
        "tmpfs": dict.fromkeys(("/tmp", "/var/cache/lookalike"), "mode=1777"),  # noqa: S108
        "mounts": [
            bind(str(registry), str(registry), type="bind"),
            *(bind(str(path), str(path), type="bind", read_only=True) for path in folders),
        ],
    }


def check_results(results: Path, *, since: float) -> list[str]:
    """Looks whether every step left what it said it made.

    DockerRunner calls a container that vanished at once a success; what counts is on the disk.

    Args:
        results: kfp's pipeline root.
        since: Only the run that began after this time counts, in seconds since the epoch.

    Returns:
        The names of the steps.

    Raises:
        LookalikeError: A step left nothing, or an artifact that it names is not there.
    """
    runs = [path for path in results.iterdir() if path.is_dir() and path.stat().st_mtime >= since]
    if not runs:
        raise LookalikeError(f"docker-demo: {results}: expected a run's results, found none")
    ran = []
    for task in sorted(path for run in runs for path in run.iterdir() if path.is_dir()):
        said = task / "executor_output.json"
        if not said.is_file():
            raise LookalikeError(
                f"docker-demo: {task.name}: the container left no executor_output.json; "
                f"look at its log with: docker events --since 10m"
            )
        for uri in _artifact_uris(json.loads(said.read_text(encoding="utf-8"))):
            if uri.startswith("/") and not Path(uri).exists():
                raise LookalikeError(f"docker-demo: {task.name}: its artifact {uri} is not there")
        ran.append(task.name)
    return ran


def _artifact_uris(said: dict[str, Any]) -> Iterator[str]:
    for entry in said.get("artifacts", {}).values():
        for artifact in entry.get("artifacts", []):
            # Metrics are numbers beside the artifact; they have no file.
            if not artifact.get("metadata") and (uri := artifact.get("uri")):
                yield str(uri)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("catalog", "taxonomy", "votes", "queries"):
        needed = name in ("catalog", "taxonomy")
        parser.add_argument(f"--{name}", type=Path, required=needed, help=f"the {name} table")
    parser.add_argument("--workspace", type=Path, required=True, help="results and registry")
    parser.add_argument("--config", type=Path, help="YAML file of step: {parameter: value}")
    parser.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="STEP.PARAMETER=VALUE"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    given = _parser().parse_args(arguments)
    known = settable(read_pipeline(VISUAL_SEARCH))
    tables = {name: getattr(given, name) for name in ("catalog", "taxonomy", "votes", "queries")}
    # kfp repeats every line of every container; what counts is said at the end.
    logging.getLogger().setLevel(logging.WARNING)
    started = time.monotonic()
    try:
        settings = read_values(given.config, given.assignments, known)
        version = run(
            {name: path.resolve() for name, path in tables.items() if path},
            given.workspace.resolve(),
            settings,
        )
    except (LookalikeError, images.ImageError) as error:
        print(f"docker-demo: {str(error).removeprefix('docker-demo: ')}", file=sys.stderr)
        return 1
    print(f"promoted {version} in containers, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
