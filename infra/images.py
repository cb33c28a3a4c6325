"""Builds the images of `infra/Dockerfile`, one target each; `make images` runs it.

Uses nothing but Python's own library and the `docker` command, so that CI needs no environment.

    python infra/images.py                              # all, for this machine
    python infra/images.py --registry HOST/PROJECT/REPO --push --digests build/digests.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from components.contracts import container_images  # noqa: E402 - it imports nothing itself

# In the order of the Dockerfile: the classic builder runs every stage above its target.
IMAGES = {
    "tensorflow": container_images.TENSORFLOW,
    "scann": container_images.SCANN,
    "ops": container_images.OPS,
    "serving": container_images.SERVING,
}
# On top of the base, in 10^6 bytes as `docker images` counts: on call pulls it at 3 a.m.
MAX_OPS_MEGABYTES = 150
SBOM = "/usr/share/sbom/lookalike.cdx.json"
DEFAULT_BASE = "python:3.11-slim-bookworm"


class ImageError(Exception):
    """An image cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Built:
    """One image.

    Attributes:
        target: Its stage in the Dockerfile.
        image: Its name with the tag.
        megabytes: Its size, in 10^6 bytes.
        on_top: The same without its base.
        seconds: How long building took.
    """

    target: str
    image: str
    megabytes: float
    on_top: float
    seconds: float


def require_engine() -> str:
    """Returns the Docker engine's version.

    Raises:
        ImageError: No engine answers.
    """
    try:
        done = _docker("version", "--format", "{{.Server.Version}}")
    except FileNotFoundError:
        raise ImageError(
            "no Docker engine: there is no `docker` command; install Docker, or let CI build"
        ) from None
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise ImageError(
            f"no Docker engine answers ({''.join(reason)}); start one, or name it in DOCKER_HOST"
        )
    return done.stdout.strip()


def build(
    target: str, *, base: str, build_base: str, network: str = "", revision: str, created: str
) -> Built:
    """Builds one target.

    Args:
        target: A key of `IMAGES`.
        base: What the image stands on.
        build_base: What it is built in.
        network: Docker's network of the build; empty for its default.
        revision: The commit, for the label.
        created: When, RFC 3339, for the label.

    Raises:
        ImageError: Docker cannot build it.
    """
    image = IMAGES[target]
    labels = {
        "version": container_images.VERSION,
        "revision": revision,
        "created": created,
        "base.name": base,
    }
    command = [
        *("docker", "build", "--file", str(ROOT / "infra" / "Dockerfile")),
        *("--target", target, "--tag", image),
        *("--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"BUILD_IMAGE={build_base}"),
        *(f"--label=org.opencontainers.image.{name}={value}" for name, value in labels.items()),
        *((f"--network={network}",) if network else ()),
        str(ROOT),
    ]
    started = time.monotonic()
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise ImageError(f"{image}: the build of target {target} failed; its last lines say why")
    megabytes = size(image)
    seconds = time.monotonic() - started
    return Built(target, image, megabytes, megabytes - size(base), seconds)


def size(image: str) -> float:
    """Returns an image's size, in 10^6 bytes.

    Raises:
        ImageError: There is no such image.
    """
    return int(_succeed("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def check_size(built: Built) -> None:
    """Holds the image of the on-call commands small.

    Raises:
        ImageError: It is larger than it may be.
    """
    if built.target == "ops" and built.on_top > MAX_OPS_MEGABYTES:
        raise ImageError(
            f"{built.image}: expected at most {MAX_OPS_MEGABYTES} MB on top of its base, it has "
            f"{built.on_top:.0f}; see what its lock brings: infra/locks/ops.txt"
        )


def export_sbom(image: str, target: Path) -> None:
    """Copies the image's bill of materials (CycloneDX JSON) out of it.

    Raises:
        ImageError: It has none.
    """
    container = _succeed("create", image)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _succeed("cp", f"{container}:{SBOM}", str(target))
    finally:
        _docker("rm", container)


def push(image: str, registry: str, tag: str) -> str:
    """Pushes an image under the registry's name.

    Args:
        image: The local image.
        registry: Such as `europe-west4-docker.pkg.dev/my-project/lookalike`.
        tag: The commit.

    Returns:
        Its name with the digest, which never means anything else.

    Raises:
        ImageError: It cannot be pushed.
    """
    name = f"{registry.rstrip('/')}/{image.partition(':')[0].rpartition('/')[2]}"
    _succeed("tag", image, f"{name}:{tag}")
    _succeed("push", "--quiet", f"{name}:{tag}")
    found = json.loads(
        _succeed("image", "inspect", "--format", "{{json .RepoDigests}}", f"{name}:{tag}")
    )
    for digest in found:
        if digest.startswith(f"{name}@sha256:"):
            return str(digest)
    raise ImageError(f"{name}:{tag}: pushed, but Docker knows no digest of it")


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def _succeed(*arguments: str) -> str:
    done = _docker(*arguments)
    if done.returncode:
        raise ImageError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _revision() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=False, capture_output=True, text=True
    )
    return os.environ.get("REVISION") or done.stdout.strip() or "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(IMAGES))
    parser.add_argument(
        "--base",
        default=os.environ.get("BASE_IMAGE", DEFAULT_BASE),
        help="what the images stand on; environment: BASE_IMAGE (%(default)s)",
    )
    parser.add_argument(
        "--build-base",
        default=os.environ.get("BUILD_IMAGE", ""),
        help="what they are built in: the base and what this machine needs to reach its package "
        "index; environment: BUILD_IMAGE (the base)",
    )
    parser.add_argument(
        "--network",
        default=os.environ.get("BUILD_NETWORK", ""),
        help="Docker's network of the build; environment: BUILD_NETWORK",
    )
    parser.add_argument("--sbom", type=Path, help="folder that gets TARGET.cdx.json")
    parser.add_argument("--registry", help="repository to push to: HOST/PROJECT/REPOSITORY")
    parser.add_argument("--push", action="store_true", help="push, tagged with the commit")
    parser.add_argument(
        "--digests", type=Path, help="file that gets {image: pushed image with digest} as JSON"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    targets = given.targets or list(IMAGES)
    if unknown := [target for target in targets if target not in IMAGES]:
        parser.error(f"unknown target {unknown[0]!r}; expected {', '.join(IMAGES)}")
    if given.push and not given.registry:
        parser.error("--push needs --registry HOST/PROJECT/REPOSITORY")
    if given.digests and not given.push:
        parser.error("--digests needs --push: only a registry gives an image its digest")
    revision = _revision()
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    digests = {}
    try:
        require_engine()
        for target in targets:
            built = build(
                target,
                base=given.base,
                build_base=given.build_base or given.base,
                network=given.network,
                revision=revision,
                created=created,
            )
            print(
                f"{built.image}: {built.megabytes:,.0f} MB, {built.on_top:,.0f} MB on top of its "
                f"base, {built.seconds:.0f} s",
                flush=True,
            )
            check_size(built)
            if given.sbom:
                export_sbom(built.image, given.sbom / f"{target}.cdx.json")
            if given.push:
                digests[built.image] = push(built.image, given.registry, revision[:12])
        if given.digests:
            given.digests.parent.mkdir(parents=True, exist_ok=True)
            given.digests.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    except ImageError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
