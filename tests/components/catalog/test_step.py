"""The catalog step against a registry: what the live version's bundle says is compared with."""

from dataclasses import replace

import pytest

from components.catalog.step import run
from components.contracts.bundle import MANIFEST_FILE, list_files, read_manifest, write_manifest
from components.contracts.catalog import ITEMS_FILE, STATISTICS_FILE, TAXONOMY_FILE
from components.contracts.errors import LookalikeError
from components.registry.registry import Registry


@pytest.fixture
def published(shop, tmp_path, make_bundle):
    """Checks the shop and publishes a bundle of what came of it, with its figures or without."""

    def publish(version, *, figures):
        shop.check()
        bundle = make_bundle(tmp_path / "bundles", version)
        for name in (ITEMS_FILE, TAXONOMY_FILE, *((STATISTICS_FILE,) if figures else ())):
            (bundle / name).write_bytes((shop.output / name).read_bytes())
        manifest = read_manifest(bundle)
        (bundle / MANIFEST_FILE).unlink()
        write_manifest(bundle, replace(manifest, files=list_files(bundle)))
        Registry.open(str(tmp_path / "registry")).publish_bundle(bundle)
        return version

    return publish


def go(shop, tmp_path, incumbent, **limits):
    shop.write()
    return run(
        str(shop.folder / "catalog.csv"),
        str(shop.folder / "taxonomy.csv"),
        "",
        str(shop.folder / "queries.csv"),
        str(tmp_path / "registry"),
        "shop",
        "auto",
        incumbent,
        str(shop.output),
        str(shop.report),
        **{
            "max_reject_share": 0.02,
            "max_removed_share": 0.3,
            "max_drift": 0.3,
            "max_changed_share": 0.2,
            "ancestor_confidence": 0.8,
            **limits,
        },
    )


@pytest.mark.parametrize("figures", [True, False])
def test_a_catalog_of_which_half_is_gone_stops_the_run(shop, tmp_path, published, figures):
    version = published("v1", figures=figures)
    assert go(shop, tmp_path, version) == ("reuse", version)
    shop.items, shop.queries = shop.items[:5], shop.queries[:5]
    with pytest.raises(LookalikeError, match="5 of 10 live items are not in the catalog"):
        go(shop, tmp_path, version)
    assert go(shop, tmp_path, version, max_removed_share=1.0) == ("reuse", version)


def test_figures_of_the_live_bundle_are_compared_with(shop, tmp_path, published):
    version = published("v1", figures=True)
    for row in shop.items[:4]:
        row[2] = "floor-lamp"
    with pytest.raises(LookalikeError, match=r"labels moved by 40\.0%"):
        go(shop, tmp_path, version, max_drift=0.25)
    assert go(shop, tmp_path, "none") == ("scratch", "none")
