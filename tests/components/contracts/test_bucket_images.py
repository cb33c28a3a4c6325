import gc
import importlib
import importlib.util
import sys
import warnings
from pathlib import Path

import pytest

from components.contracts import bucket_images
from components.contracts.errors import SetAsideError
from components.contracts.images import BadImageError, ImageLimits, read_image


@pytest.fixture(scope="module")
def emulator():
    path = Path(__file__).parents[2] / "benchmarks" / "fake_gcs.py"
    spec = importlib.util.spec_from_file_location("fake_gcs", path)
    module = sys.modules.setdefault("fake_gcs", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    with module.fake_gcs_server() as address:
        module.make_bucket(address, "shop-images")
        yield address


@pytest.fixture
def bucket(emulator, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    bucket_images._client.cache_clear()
    client = bucket_images._client(__import__("os").getpid())
    yield client.bucket("shop-images")
    client.close()
    bucket_images._client.cache_clear()
    # The client library forgets answers that it did not read to the end, with their sockets.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.gcs
def test_an_object_is_read_whole(bucket):
    bucket.blob("a/lamp 1.jpg").upload_from_string(b"picture")
    assert read_image("gs://shop-images/a/lamp 1.jpg") == b"picture"


@pytest.mark.gcs
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shop-images/none.jpg", "missing_image"),
        ("no-such-bucket/a.jpg", "missing_image"),
        ("shop-images/empty.jpg", "empty_image"),
        ("shop-images/big.jpg", "too_many_bytes"),
    ],
)
def test_what_cannot_be_had_is_set_aside(bucket, name, reason):
    bucket.blob("empty.jpg").upload_from_string(b"")
    bucket.blob("big.jpg").upload_from_string(b"x" * 101)
    with pytest.raises(BadImageError) as error:
        read_image(f"gs://{name}", ImageLimits(max_bytes=100))
    assert error.value.reason == reason


@pytest.mark.parametrize("uri", ["gs://", "gs://bucket", "gs://bucket/", "gs:///a"])
def test_a_name_without_bucket_or_object_is_unreadable(uri):
    with pytest.raises(SetAsideError, match="expected gs://bucket/object") as error:
        bucket_images.read_object(uri, 100)
    assert error.value.reason == "unreadable_image"


def test_missing_credentials_are_told_once_and_for_each(monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    bucket_images._client.cache_clear()
    with pytest.raises(BadImageError, match="no Google Cloud credentials") as error:
        read_image("gs://shop-images/a.jpg")
    assert error.value.reason == "unreachable_image"


def test_a_missing_client_library_is_told(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(bucket_images.importlib, "import_module", absent)
    with pytest.raises(BadImageError, match="google-cloud-storage is not installed") as error:
        read_image("gs://shop-images/a.jpg")
    assert error.value.reason == "unreachable_image"
