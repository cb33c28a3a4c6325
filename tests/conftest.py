"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.contracts.bundle import Manifest, list_files, write_manifest
from components.contracts.files import write_atomically, write_json, write_json_lines
from components.contracts.verdict import Check, Status, Verdict


@pytest.fixture(scope="session")
def dev_mini() -> Path:
    """The quick-start catalog that ships with the repository."""
    return Path(__file__).parent / "data" / "dev-mini"


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """Makes a tiny whole bundle: `make_bundle(directory, "v1", items=["a", "b"])`."""

    def make(
        directory: Path,
        version: str,
        *,
        items: Sequence[str] = ("a", "b", "c", "d"),
        created: str = "",
        content: str = "",
        encoder: str = "e" * 64,
        lineage: Mapping[str, Any] | None = None,
    ) -> Path:
        root = directory / version
        write_json_lines(root / "items.jsonl", ({"item_id": item} for item in items))
        write_json(root / "encoder" / "encoder.json", {"digest": encoder})
        write_atomically(root / "index" / "vectors.npy", f"vectors of {version} {content}")
        write_atomically(root / "taxonomy.csv", "taxon_id,parent_id,name\nroot,,Everything\n")
        write_manifest(
            root,
            Manifest(
                version=version,
                created=created or datetime.now(UTC).isoformat(),
                mode="scratch",
                items=len(items),
                embedding_dim=4,
                encoder_digest=encoder,
                taxonomy_digest="",
                index={"backend": "brute_force"},
                lineage={"run": "test", **(lineage or {})},
                parameters={"train.epochs": 1},
                metrics={"recall_at_10": 0.99},
                files=list_files(root),
            ),
        )
        return root

    return make


@pytest.fixture(scope="session")
def make_verdict() -> Callable[..., Verdict]:
    """Makes a verdict with one check: `make_verdict("offline", "v1", digest)`."""

    def make(
        gate: str, version: str, digest: str, *, status: Status = "pass", **changes: Any
    ) -> Verdict:
        check = Check(name="recall_at_10", status=status, reason=f"recall@10 is a {status}")
        verdict = Verdict(
            gate=gate,
            status=status,
            version=version,
            manifest_digest=digest,
            incumbent="",
            checks=(check,),
            created=datetime.now(UTC).isoformat(),
            writer="tests",
        )
        return replace(verdict, **changes)

    return make
