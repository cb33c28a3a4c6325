"""The object store in Google Cloud Storage: `gs://bucket/prefix`, credentials from the environment.

Conditional writes are never repeated by the client library: after a lost answer, a repetition would
be told that the precondition failed by the very write it repeats. They surface as
`OutcomeUnknownError` and whoever wrote reads the object to find out. Reads, and uploads of files
(whose content can be compared), are repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage import exceptions as transfer
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import exceptions as http

from components.contracts.errors import InputError
from components.registry.object_store import (
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStoreError,
    OutcomeUnknownError,
    PreconditionFailedError,
    RateLimitedError,
    check_key,
    check_prefix,
)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_CHUNK = 8 << 20
_TIMEOUT_S = 30
_RETRY = DEFAULT_RETRY.with_timeout(60.0).with_delay(initial=0.2, multiplier=2.0, maximum=8.0)
_ATTEMPTS = 5
_Result = TypeVar("_Result")


class GcsStore:
    """A bucket, or a folder of it, as an object store; see `ObjectStore`."""

    def __init__(self, client: Any, bucket: str, prefix: str, *, uri: str) -> None:
        """Wraps a client.

        Args:
            client: A `google.cloud.storage.Client`.
            bucket: The bucket's name.
            prefix: The folder, empty or with a slash at its end.
            uri: What a person typed to name the store.
        """
        self._bucket = client.bucket(bucket)
        self._client = client
        self._prefix = prefix
        self._uri = uri
        # A follower that reopens its registry must not gather connections.
        weakref.finalize(self, client.close)

    @classmethod
    def open(cls, uri: str) -> GcsStore:
        """Opens `gs://bucket/prefix` with Application Default Credentials.

        Raises:
            InputError: The URI names no bucket, or its prefix is no key.
            ObjectStoreError: There are no credentials.
        """
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise InputError(f"registry {uri!r}: expected gs://bucket/prefix")
        prefix = prefix.rstrip("/")
        if prefix:
            prefix = check_key(prefix) + "/"
        # Else the client asks for the bucket itself in a thread, for traces that nobody collects,
        # with a permission that whoever is on call may lack.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        try:
            client = storage.Client()
        except (auth.DefaultCredentialsError, OSError) as error:
            raise ObjectStoreError(
                f"{uri}: no Google Cloud credentials ({_first_line(error)}); run `gcloud auth "
                "application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
            ) from None
        return cls(client, bucket, prefix, uri=uri)

    @property
    def uri(self) -> str:
        """What a person typed to name the store."""
        return self._uri

    def read(self, key: str) -> tuple[bytes, int]:
        """See `ObjectStore.read`."""

        def attempt() -> tuple[bytes, int]:
            # The generation comes in the headers of the same answer: one request, and no writer
            # can come between the two.
            blob = self._blob(key)
            data: bytes = blob.download_as_bytes(
                checksum="crc32c", timeout=_TIMEOUT_S, retry=_RETRY
            )
            return data, int(blob.generation)

        return self._read(key, attempt)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """See `ObjectStore.read_chunks`."""
        info = self.stat(key)
        generation = info.generation
        for start in range(0, info.size, _CHUNK):

            def attempt(start: int = start) -> bytes:
                data: bytes = self._blob(key).download_as_bytes(
                    start=start,
                    end=min(start + _CHUNK, info.size) - 1,
                    if_generation_match=generation,
                    timeout=_TIMEOUT_S,
                    retry=_RETRY,
                )
                return data

            yield self._read(key, attempt, conditional=False)

    def write(self, key: str, data: bytes, *, if_generation: int | None = None) -> int:
        """See `ObjectStore.write`."""
        blob = self._blob(key)
        with self._writing(key):
            blob.upload_from_string(
                data,
                content_type="application/json" if key.endswith(".json") else None,
                if_generation_match=if_generation,
                checksum="crc32c",
                timeout=_TIMEOUT_S,
                retry=None,
            )
        return int(blob.generation)

    def upload_file(self, path: Path, key: str, *, if_generation: int | None = None) -> int:
        """See `ObjectStore.upload_file`; files above 8 MiB go in resumable pieces."""
        blob = self._blob(key, chunk_size=_CHUNK)
        with self._writing(key):
            blob.upload_from_filename(
                str(path),
                if_generation_match=if_generation,
                checksum="crc32c",
                timeout=_TIMEOUT_S,
                retry=_RETRY,
            )
        return int(blob.generation)

    def download_file(self, key: str, path: Path) -> int:
        """See `ObjectStore.download_file`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)

        def attempt() -> int:
            blob = self._blob(key)
            blob.reload(timeout=_TIMEOUT_S, retry=_RETRY)
            generation = int(blob.generation)
            blob.download_to_filename(
                temporary,
                if_generation_match=generation,
                checksum="crc32c",
                timeout=_TIMEOUT_S,
                retry=_RETRY,
            )
            return generation

        try:
            generation = self._read(key, attempt)
            # mkstemp makes files private, and the client may have removed and made it anew.
            Path(temporary).chmod(0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        return generation

    def stat(self, key: str) -> ObjectInfo:
        """See `ObjectStore.stat`."""

        def attempt() -> ObjectInfo:
            blob = self._blob(key)
            blob.reload(timeout=_TIMEOUT_S, retry=_RETRY)
            return self._info(blob)

        return self._read(key, attempt)

    def list(self, prefix: str, *, name: str | None = None) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        start = self._prefix + check_prefix(prefix)
        glob = None
        if name is not None:
            check_key(name)
            # The pattern only saves transfer; what it cannot express is filtered below.
            if not re.search(r"[*?\[\]{}\\]", start):
                glob = f"{start}*/{name}"
        with self._reading(prefix or "the registry"):
            for blob in self._client.list_blobs(
                self._bucket,
                prefix=start or None,
                match_glob=glob,
                fields="items(name,size,generation,updated),nextPageToken",
                timeout=_TIMEOUT_S,
                retry=_RETRY,
            ):
                rest = blob.name.removeprefix(start)
                if name is None or (rest.endswith(f"/{name}") and rest.count("/") == 1):
                    yield self._info(blob)

    def delete(self, key: str, *, if_generation: int | None = None) -> None:
        """See `ObjectStore.delete`."""
        blob = self._blob(key)
        with self._writing(key), contextlib.suppress(api.NotFound):
            blob.delete(if_generation_match=if_generation, timeout=_TIMEOUT_S, retry=_RETRY)

    def sweep_temporary(self, older_than_s: float) -> int:
        """See `ObjectStore.sweep_temporary`; Google forgets unfinished uploads after a week."""
        del older_than_s
        return 0

    def _blob(self, key: str, *, chunk_size: int | None = None) -> Any:
        return self._bucket.blob(self._prefix + check_key(key), chunk_size=chunk_size)

    def _info(self, blob: Any) -> ObjectInfo:
        return ObjectInfo(
            blob.name.removeprefix(self._prefix),
            int(blob.size or 0),
            int(blob.generation),
            blob.updated.timestamp() if blob.updated else 0.0,
        )

    def _read(
        self, key: str, attempt: Callable[[], _Result], *, conditional: bool = True
    ) -> _Result:
        """Repeats a read that was overtaken by a writer, or that arrived damaged."""
        for number in range(_ATTEMPTS):
            last = number == _ATTEMPTS - 1
            with self._reading(key):
                try:
                    return attempt()
                except api.PreconditionFailed:
                    if last or not conditional:
                        raise
                except transfer.DataCorruption:
                    if last:
                        raise
        raise AssertionError  # The last attempt returns or raises.

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        with self._explained(key):
            try:
                yield
            except (*_UNANSWERED, api.TooManyRequests) as error:
                raise ObjectStoreError(
                    f"{self._uri}: {key}: Google Cloud Storage does not answer "
                    f"({_first_line(error)}); try again"
                ) from None

    @contextlib.contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        with self._explained(key):
            try:
                yield
            except api.TooManyRequests as error:
                raise RateLimitedError(
                    f"{self._uri}: {key}: too many requests ({_first_line(error)})"
                ) from None
            except _UNANSWERED as error:
                raise OutcomeUnknownError(
                    f"{self._uri}: {key}: no answer, perhaps written ({_first_line(error)})"
                ) from None

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turns what the client library says into one line for people."""
        try:
            yield
        except api.NotFound as error:
            if "bucket" in str(error).lower() and "not exist" in str(error).lower():
                raise ObjectStoreError(
                    f"{self._uri}: there is no such bucket, or you may not see it"
                ) from None
            raise ObjectNotFoundError(f"{self._uri}: there is no {key}") from None
        except api.PreconditionFailed:
            raise PreconditionFailedError(
                f"{self._uri}: {key} is at another generation: somebody else has written it"
            ) from None
        except (api.Forbidden, api.Unauthorized, auth.GoogleAuthError) as error:
            raise ObjectStoreError(
                f"{self._uri}: no permission for {key} ({_first_line(error)}); ask the bucket's "
                "owner for access, or run as the account that has it"
            ) from None
        except api.GoogleAPIError as error:
            raise ObjectStoreError(f"{self._uri}: {key}: {_first_line(error)}") from None


_UNANSWERED = (
    api.ServerError,
    api.RetryError,
    transfer.DataCorruption,
    transfer.InvalidResponse,
    http.RequestException,
    ConnectionError,
    TimeoutError,
)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
