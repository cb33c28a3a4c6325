from importlib import metadata
from pathlib import PurePosixPath

import pytest

from components.contracts.errors import LookalikeError
from components.evaluate import dependencies


class Installed(metadata.Distribution):
    """A distribution that exists in a test only."""

    def __init__(self, requires=(), files=()):
        self._requires, self._files = list(requires), [PurePosixPath(file) for file in files]

    def read_text(self, filename):
        return None

    def locate_file(self, path):
        raise NotImplementedError

    requires = property(lambda self: self._requires)
    files = property(lambda self: self._files)


SHOP = {
    "shop": Installed(["click", 'web[fast]; extra == "serving"', 'gpu; extra == "train"']),
    "click": Installed(files=["click/__init__.py", "click/core.py"]),
    "web": Installed(
        ["Base_Lib", 'loop; extra == "fast"', 'old; python_version < "3"'],
        ["web/__init__.py", "web-1.dist-info/METADATA", "../../bin/web"],
    ),
    "base-lib": Installed(files=["cloud/base/__init__.py", "cloud/base/x.py"]),
    "loop": Installed(files=["loop.cpython-311-x86_64-linux-gnu.so"]),
    "gpu": Installed(files=["gpu/__init__.py", "gpu/deep/a.py"]),
    "store": Installed(files=["cloud/store/__init__.py", "cloud/store/y.py", "single.py"]),
}


def test_the_closure_follows_extras_and_markers():
    assert dependencies.closure("shop", "serving", SHOP) == {
        "shop", "click", "web", "base-lib", "loop"
    }  # fmt: skip
    assert dependencies.closure("shop", "", SHOP) == {"shop", "click"}


def test_what_is_needed_must_be_there():
    rest = {name: one for name, one in SHOP.items() if name != "loop"}
    with pytest.raises(LookalikeError, match="needs the package loop, which is not installed"):
        dependencies.closure("shop", "serving", rest)


def test_outside_names_as_little_as_covers_all():
    inside = dependencies.closure("shop", "serving", SHOP)
    # `cloud` is shared: only what lies under it and belongs to another is outside.
    assert dependencies.outside(inside, SHOP) == ("cloud.store", "gpu", "single")
    assert dependencies.outside(SHOP, SHOP) == ()


def test_the_serving_image_holds_no_pipeline_and_no_beam():
    installed = dependencies.installed_distributions()
    inside = dependencies.closure("lookalike", "serving", installed)
    assert {"lookalike", "fastapi", "uvicorn", "scann", "numpy"} <= inside
    outside = dependencies.outside(inside, installed)
    assert {"kfp", "apache_beam", "tensorflow_transform", "pytest"} <= set(outside)
    assert not {"numpy", "fastapi", "google", "google.protobuf"} & set(outside)
