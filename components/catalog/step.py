"""From the pipeline's parameters and artifacts to the catalog functions."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.catalog.changes import resolve_mode
from components.catalog.check import check_catalog
from components.catalog.config import CatalogConfig
from components.catalog.drift import Live
from components.catalog.duplicates import Fingerprints
from components.catalog.mounts import mounted
from components.catalog.statistics import Statistics
from components.contracts import incumbent as incumbents
from components.contracts.catalog import ITEMS_FILE, STATISTICS_FILE, TAXONOMY_FILE, read_items
from components.contracts.files import read_json_lines
from components.contracts.taxonomy import Taxonomy
from components.registry.object_store import open_store
from components.registry.registry import Registry


def run(
    catalog: str,
    taxonomy: str,
    votes: str,
    queries: str,
    registry: str,
    channel: str,
    mode: str,
    incumbent: str,
    checked: str,
    report: str,
    *,
    max_reject_share: float,
    max_removed_share: float,
    max_drift: float,
    max_changed_share: float,
    ancestor_confidence: float,
) -> tuple[str, str]:
    """Checks the catalog and decides what the run has to compute.

    Returns:
        The mode and the incumbent's version (`none` when there is none).
    """
    store = Registry.open(registry)
    if incumbent == incumbents.LIVE:
        incumbent = store.channel(channel).live or incumbents.NONE
    output = Path(checked)
    config = CatalogConfig(
        max_reject_share=max_reject_share,
        max_removed_share=max_removed_share,
        max_drift=max_drift,
        ancestor_confidence=ancestor_confidence,
    )
    with tempfile.TemporaryDirectory() as scratch:
        live = Path(scratch) / "live"
        previous_taxonomy = live_items = before = None
        if incumbent != incumbents.NONE:
            measured = STATISTICS_FILE in store.manifest(incumbent)[0].files
            wanted = (TAXONOMY_FILE, ITEMS_FILE, *((STATISTICS_FILE,) if measured else ()))
            store.download_bundle(incumbent, live, paths=wanted)
            previous_taxonomy = live / TAXONOMY_FILE
            live_items = list(read_json_lines(live / ITEMS_FILE))
            before = Live(
                frozenset(item["item_id"] for item in live_items),
                Statistics.read(live / STATISTICS_FILE) if measured else None,
            )
        fingerprints = Fingerprints(open_store(registry))
        check_catalog(
            catalog=mounted(catalog, what="catalog"),
            taxonomy=mounted(taxonomy, what="taxonomy"),
            votes=mounted(votes, what="votes"),
            queries=mounted(queries, what="queries"),
            previous_taxonomy=previous_taxonomy,
            config=config,
            output=output,
            report=Path(report),
            live=before,
            fingerprints=fingerprints,
        )
        for failure in fingerprints.publish():
            print(f"catalog: {failure}", flush=True)
        grown = previous_taxonomy is not None and _has_new_nodes(
            Taxonomy.read(output / TAXONOMY_FILE), Taxonomy.read(previous_taxonomy)
        )
        resolved, reason = resolve_mode(
            requested=mode,
            items=read_items(output / ITEMS_FILE),
            live_items=live_items,
            taxonomy_changed=grown,
            max_changed_share=max_changed_share,
        )
    print(f"mode {resolved}: {reason}")
    return resolved, incumbent


def _has_new_nodes(today: Taxonomy, previous: Taxonomy) -> bool:
    return any(taxon.taxon_id not in previous for taxon in today.taxa if taxon.taxon_id in today)
