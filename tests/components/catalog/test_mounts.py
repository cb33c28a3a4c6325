from __future__ import annotations

import pytest

from components.catalog.mounts import mounted
from components.contracts.errors import InputError


@pytest.mark.parametrize("uri", ["", "/data/catalog.csv", "catalog.csv", "file:///data/c.csv"])
def test_what_lies_in_no_bucket_stays_as_it_is(uri, tmp_path):
    assert mounted(uri, what="catalog", mounts=tmp_path) == uri


def test_a_table_in_a_bucket_is_found_in_the_mount(tmp_path):
    (tmp_path / "shop").mkdir()

    found = mounted("gs://shop/daily/catalog.csv", what="catalog", mounts=tmp_path)

    assert found == str(tmp_path / "shop" / "daily" / "catalog.csv")


@pytest.mark.parametrize("uri", ["gs://other/catalog.csv", "gs://", "gs:///x"])
def test_a_bucket_that_is_not_mounted_is_refused_with_what_to_do(uri, tmp_path):
    with pytest.raises(InputError, match=r"votes gs://.*expected the bucket mounted as"):
        mounted(uri, what="votes", mounts=tmp_path)
