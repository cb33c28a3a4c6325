"""Buckets as folders: Vertex AI mounts each bucket that a task may read under /gcs."""

from __future__ import annotations

from pathlib import Path

from components.contracts.errors import InputError

MOUNTS = Path("/gcs")
_SCHEME = "gs://"


def mounted(uri: str, *, what: str, mounts: Path = MOUNTS) -> str:
    """Returns where a table in a bucket lies in the mounts; anything else as it is.

    Images are given relative to their table, so they are found there too, and are read as the
    files that they are: one at a time, without a copy of the whole catalog.

    Args:
        uri: A table, such as gs://shop-catalog/catalog.csv; empty for none.
        what: What to call it.
        mounts: Where buckets are mounted.

    Raises:
        InputError: The bucket is not mounted here.
    """
    if not uri.startswith(_SCHEME):
        return uri
    bucket, _, name = uri.removeprefix(_SCHEME).partition("/")
    if not bucket or not (mounts / bucket).is_dir():
        raise InputError(
            f"{what} {uri}: expected the bucket mounted as {mounts / (bucket or 'BUCKET')} (Vertex "
            "AI does that; on Kubernetes mount it, or a volume, and give the path); found no such "
            "folder"
        )
    return str(mounts / bucket / name)
