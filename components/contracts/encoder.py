"""The encoder between steps: what its `encoder.json` must say for everyone else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.contracts.errors import InputError
from components.contracts.files import read_json

ENCODER_FILE = "encoder.json"
SAVED_MODEL_DIRECTORY = "saved_model"
TRAINED_PRODUCTS_FILE = "trained_products.txt"


@dataclass(frozen=True)
class EncoderCard:
    """What later steps need to know of an encoder.

    Attributes:
        digest: Names the weights and the preprocessing graph: equal digests give equal vectors.
        embedding_dim: Dimensions of a vector.
    """

    digest: str
    embedding_dim: int


def read_encoder(directory: Path) -> EncoderCard:
    """Reads an encoder artifact's card; other fields of the file are the train step's own.

    Raises:
        InputError: There is none, or it lacks a digest or the dimensions.
    """
    path = directory / ENCODER_FILE
    value = read_json(path)
    digest = value.get("digest") if isinstance(value, dict) else None
    dim = value.get("embedding_dim") if isinstance(value, dict) else None
    if not isinstance(digest, str) or not digest or not isinstance(dim, int) or dim < 1:
        raise InputError(
            f"{path}: expected a digest (text) and embedding_dim (a positive number), received "
            f"digest={digest!r}, embedding_dim={dim!r}"
        )
    return EncoderCard(digest, dim)


def read_trained_products(directory: Path) -> frozenset[str]:
    """Returns the products that the encoder was trained on; empty when the list is missing."""
    path = directory / TRAINED_PRODUCTS_FILE
    if not path.is_file():
        return frozenset()
    return frozenset(line for line in path.read_text(encoding="utf-8").splitlines() if line)
