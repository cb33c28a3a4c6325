"""The evaluate step: measure the candidate, compare it, start its server, and give a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.bundle import MANIFEST_FILE, read_manifest, verify
from components.contracts.files import (
    fresh_directory,
    sha256_file,
    write_atomically,
    write_json,
    write_json_lines,
)
from components.contracts.progress import Progress
from components.contracts.verdict import Check, Verdict, combine
from components.evaluate import checks as gate
from components.evaluate import server
from components.evaluate.config import EvaluateConfig
from components.evaluate.questions import means, records
from components.evaluate.report import render
from components.evaluate.study import Study, conduct

GATE = "offline"
METRICS_FILE = "metrics.json"
VERDICT_FILE = "verdict.json"
CANDIDATE_RESULTS = "results/candidate.jsonl"
INCUMBENT_RESULTS = "results/incumbent.jsonl"
_PROBLEMS_SHOWN = 3


def evaluate_candidate(
    *,
    bundle: Path,
    embeddings: Path,
    checked: Path,
    incumbent_bundle: Path | None,
    incumbent: str,
    server_command: Sequence[str] | None,
    config: EvaluateConfig,
    output: Path,
    report: Path,
) -> Verdict:
    """Evaluates a candidate bundle and gives the offline gate's verdict.

    Args:
        bundle: The candidate.
        embeddings: The embed step's output, for the photos' vectors.
        checked: The checked catalog.
        incumbent_bundle: The live bundle, None when there is none.
        incumbent: The live version's name, empty when there is none.
        server_command: What starts the server (`--bundle`, `--host`, `--port` and `--ready-file`
            are appended); None leaves infra validation out, and the verdict says so.
        config: Thresholds, samples and limits.
        output: Directory to write `metrics.json`, `results/*.jsonl` and, last, `verdict.json` to.
        report: HTML file to write the page for people to.

    Returns:
        The verdict; every check of it in words.

    Raises:
        InputError: Catalog, embeddings and bundle do not belong together.
    """
    fresh_directory(output)
    damage = verify(bundle)
    if damage:
        # Nothing of a damaged bundle is loaded, so that there is nothing else to say of it.
        verdict = _verdict(bundle, [_damaged(damage)], incumbent, (), config)
        write_json(output / METRICS_FILE, {})
        write_atomically(report, render(verdict, {}, None))
        write_json(output / VERDICT_FILE, verdict.to_json())
        return verdict

    with Progress("evaluate", total=3, unit="stages") as progress:
        progress.advance(0, note="asking the queries")
        study = conduct(
            bundle=bundle,
            embeddings=embeddings,
            checked=checked,
            incumbent_bundle=incumbent_bundle,
            config=config,
        )
        _write_results(output, study)
        progress.advance(note="comparing")
        figures = measure(study)
        found = [_whole(bundle), *_checks(study, figures, config)]
        notes = [*study.notes, *_remarks(study, server_command, config)]
        progress.advance(note="starting the server" if server_command else "")
        if server_command:
            served, figures["server"] = server.validate(bundle, server_command, config)
            found += served
        progress.advance(note="")
    verdict = _verdict(bundle, found, incumbent, notes, config)
    write_json(output / METRICS_FILE, figures)
    write_atomically(report, render(verdict, figures, study))
    write_json(output / VERDICT_FILE, verdict.to_json())
    return verdict


def measure(study: Study) -> dict[str, Any]:
    """Returns the means over queries: overall, of products never trained on, by department.

    Returns:
        `shopper`, `shopper_unseen`, `items`, `items_unseen`, their `_incumbent` and
        `_overlap_at_10` where there is one, `departments` and `index`. A metric without a query
        that it has a meaning for is left out.
    """
    figures: dict[str, Any] = {"shopper": {}, "shopper_unseen": {}, "items": {}, "items_unseen": {}}
    departments: dict[str, dict[str, Any]] = {}
    for part in study.parts:
        figures[part.name] = means(part.values)
        if study.trained:
            figures[f"{part.name}_unseen"] = means(part.values, study.unseen(part))
        for department in sorted(set(part.departments) - {""}):
            mask = np.array([one == department for one in part.departments])
            departments.setdefault(department, {})[part.name] = means(part.values, mask)
        if part.incumbent:
            figures[f"{part.name}_incumbent"] = means(part.incumbent_values)
            figures[f"{part.name}_overlap_at_10"] = float(part.overlaps().mean())
            theirs = np.array(part.paired_departments)
            for department in sorted(set(part.paired_departments) - {""}):
                departments[department][f"{part.name}_incumbent"] = means(
                    part.incumbent_values, theirs == department
                )
    figures["departments"] = departments
    return figures


def _checks(study: Study, figures: dict[str, Any], config: EvaluateConfig) -> list[Check]:
    """Returns the checks on quality and index, and completes the figures."""
    values = {part.name: part.values for part in study.parts}
    found = gate.absolute(values.get("shopper", {}), values.get("items", {}), config)
    for part in study.parts:
        if part.incumbent:
            pair = part.paired_values, part.incumbent_values
            found += gate.against_incumbent(part.name, *pair, config)
            found += gate.departments(part.name, part.paired_departments, *pair, config)
    if study.has_incumbent and not any(check.name.endswith("_change") for check in found):
        reason = "there is an incumbent, but no query with a known answer could be asked of both"
        found.append(Check("compared_with_incumbent", "fail", reason))
    recalls = study.recalls()
    found.append(gate.index_recall(recalls, config))
    if len(recalls):
        figures["index"] = {"recall_at_10": float(recalls.mean()), "queries": float(len(recalls))}
    indexed = sum(item_id in study.index for item_id in study.labels)
    found.append(gate.coverage(indexed, len(study.labels), config))
    collapse, figures["embedding"] = gate.collapse(study.index.vectors, config)
    return [*found, *collapse]


def _remarks(
    study: Study, server_command: Sequence[str] | None, config: EvaluateConfig
) -> list[str]:
    remarks = []
    if not study.has_incumbent:
        remarks.append("There is no incumbent: the candidate is compared with nothing.")
    thresholds = (
        config.min_leaf_hit_at_10,
        config.min_leaf_precision_at_10,
        config.min_product_recall_at_10,
        config.min_item_leaf_precision_at_10,
    )
    if not any(thresholds):
        remarks.append("No absolute threshold for quality is set.")
    if not server_command:
        remarks.append("The server was not started: no infra validation was asked for.")
    if not study.trained:
        remarks.append("The encoder does not say what it was trained on: nothing counts as unseen.")
    return remarks


def _write_results(output: Path, study: Study) -> None:
    ours = [line for part in study.parts for line in records(part.asked, study.labels)]
    write_json_lines(output / CANDIDATE_RESULTS, ours)
    if study.has_incumbent:
        theirs = [
            line
            for part in study.parts
            if part.incumbent
            for line in records(part.incumbent, study.labels)
        ]
        write_json_lines(output / INCUMBENT_RESULTS, theirs)


def _whole(bundle: Path) -> Check:
    count = len(read_manifest(bundle).files)
    return Check("bundle_whole", "pass", f"all {count} files of the bundle have their recorded sum")


def _damaged(problems: Sequence[str]) -> Check:
    more = len(problems) - _PROBLEMS_SHOWN
    tail = f"; and {more} more" if more > 0 else ""
    shown = "; ".join(problems[:_PROBLEMS_SHOWN])
    return Check("bundle_whole", "fail", f"the bundle is not what its manifest says: {shown}{tail}")


def _verdict(
    bundle: Path,
    found: Sequence[Check],
    incumbent: str,
    notes: Sequence[str],
    config: EvaluateConfig,
) -> Verdict:
    return Verdict(
        gate=GATE,
        status=combine(found),
        version=read_manifest(bundle).version,
        manifest_digest=sha256_file(bundle / MANIFEST_FILE),
        incumbent=incumbent,
        checks=tuple(found),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        writer="evaluate",
        notes=tuple(notes),
        parameters=asdict(config),
    )
