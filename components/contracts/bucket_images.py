"""Reads an object of Google Cloud Storage that a table names: `gs://bucket/object`.

The registry's store sits above the contracts and knows keys below one prefix; a catalog's images
may lie in any bucket, and need bytes alone.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from typing import Any

from components.contracts.errors import SetAsideError

_TIMEOUT_S = 15
_TOTAL_S = 45.0


def read_object(uri: str, max_bytes: int) -> bytes:
    """Reads an object whole, its checksum compared; the client library repeats what fails.

    Args:
        uri: `gs://bucket/object`.
        max_bytes: Largest size, in bytes; larger objects are not fetched.

    Raises:
        SetAsideError: `missing_image`, `unreadable_image` (no such name, or no permission),
            `unreachable_image` (no credentials, no client library, or no answer) or
            `too_many_bytes`.
    """
    bucket, _, name = uri[len("gs://") :].partition("/")
    if not bucket or not name:
        raise SetAsideError("unreadable_image", f"{uri}: expected gs://bucket/object")
    try:
        api = importlib.import_module("google.api_core.exceptions")
        auth = importlib.import_module("google.auth.exceptions")
        retry = importlib.import_module("google.cloud.storage.retry").DEFAULT_RETRY
        client = _client(os.getpid())
    except ImportError:
        raise SetAsideError(
            "unreachable_image",
            f"{uri}: google-cloud-storage is not installed here; install it, or copy the images "
            "to a disk",
        ) from None
    # The client's own words on missing credentials: a class that only the import above brings.
    except Exception as error:
        raise SetAsideError(
            "unreachable_image",
            f"{uri}: no Google Cloud credentials ({_first_line(error)}); run `gcloud auth "
            "application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
        ) from None
    patience = retry.with_timeout(_TOTAL_S)
    try:
        blob = client.bucket(bucket).blob(name)
        blob.reload(timeout=_TIMEOUT_S, retry=patience)
        if int(blob.size or 0) > max_bytes:
            raise SetAsideError(
                "too_many_bytes",
                f"{uri}: expected at most {max_bytes} bytes, found {blob.size}",
            )
        data: bytes = blob.download_as_bytes(
            # As stored: unpacked on the way, the size above would not bound it.
            raw_download=True,
            if_generation_match=blob.generation,
            checksum="crc32c",
            timeout=_TIMEOUT_S,
            retry=patience,
        )
    except SetAsideError:
        raise
    except api.NotFound:
        raise SetAsideError(
            "missing_image", f"{uri}: expected an image, found no such object"
        ) from None
    except (api.Forbidden, api.Unauthorized, auth.GoogleAuthError) as error:
        raise SetAsideError(
            "unreadable_image", f"{uri}: no permission to read it ({_first_line(error)})"
        ) from None
    except (ValueError, api.BadRequest) as error:
        raise SetAsideError("unreadable_image", f"{uri}: {_first_line(error)}") from None
    # The library passes on errors of the four libraries below it.
    except Exception as error:
        raise SetAsideError(
            "unreachable_image",
            f"{uri}: Google Cloud Storage does not give it ({_first_line(error)})",
        ) from None
    return data


@cache
def _client(_process: int) -> Any:
    """Returns the client of this process: connections do not survive a fork."""
    # As in components/registry/gcs_store.py: no question about the bucket behind our back.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    return importlib.import_module("google.cloud.storage").Client()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
