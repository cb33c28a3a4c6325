"""The images of a compiled pipeline, and what pins them: a file of digests that the build wrote.

Digests change with every build, so the committed file has tags; a release copy has digests, and so
runs the very images that were tested, whatever somebody pushes under the tag later.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.contracts.errors import InputError

_PINNED = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}")


def image_name(reference: str) -> str:
    """Returns an image's short name: `tensorflow` for `host/project/tensorflow:0.1.0`."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


def read_digests(path: Path) -> dict[str, str]:
    """Reads a file of `name: reference@sha256:...`, JSON or YAML.

    Args:
        path: The file. A name is short (`tensorflow`) or whole (`lookalike/tensorflow:0.1.0`).

    Returns:
        Reference by short name.

    Raises:
        InputError: It cannot be read, or a reference has no digest.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{path}: the digests cannot be read ({error.strerror})") from None
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: expected JSON or YAML ({error})") from None
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path}: expected 'image: reference@sha256:...' lines")
    digests = {}
    for name, reference in document.items():
        if not isinstance(reference, str) or not _PINNED.fullmatch(reference):
            raise InputError(
                f"{path}: {name}: expected a reference such as host/lookalike/tensorflow@sha256: "
                f"and 64 hex digits, received {reference!r}"
            )
        digests[image_name(str(name))] = reference
    return digests


def images_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Returns the image of each executor."""
    return {
        name: executor["container"]["image"]
        for name, executor in document["deploymentSpec"]["executors"].items()
    }


def pin_images(document: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Returns a copy of a compiled pipeline with every image pinned.

    Raises:
        InputError: An image has no digest.
    """
    pinned = copy.deepcopy(dict(document))
    for name, image in images_of(document).items():
        short = image_name(image)
        if short not in digests:
            raise InputError(
                f"no digest for the image {short!r} ({image}); there are digests for "
                f"{', '.join(sorted(digests))}"
            )
        pinned["deploymentSpec"]["executors"][name]["container"]["image"] = digests[short]
    return pinned
