"""The evaluate step: measure the candidate, compare it, start its server, and give a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.bundle import MANIFEST_FILE, read_manifest, verify
from components.contracts.delta import read_lineage
from components.contracts.files import (
    fresh_directory,
    sha256_file,
    write_atomically,
    write_json,
    write_json_lines,
)
from components.contracts.progress import Progress
from components.contracts.verdict import Check, Verdict, combine
from components.evaluate import answer_checks as answers
from components.evaluate import checks as quality
from components.evaluate import delta_checks, departments
from components.evaluate import server as infra
from components.evaluate import vector_checks as vectors
from components.evaluate.config import EvaluateConfig
from components.evaluate.questions import means, records
from components.evaluate.report import render
from components.evaluate.server_process import Launch
from components.evaluate.study import Part, Study, conduct

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
    registry: str | None,
    config: EvaluateConfig,
    output: Path,
    report: Path,
    origin: Path | None = None,
    notes: Sequence[str] = (),
    server: str = "serving",
) -> Verdict:
    """Evaluates a candidate bundle and gives the offline gate's verdict.

    Args:
        bundle: The candidate.
        embeddings: The embed step's output, for the photos' vectors.
        checked: The checked catalog.
        incumbent_bundle: The live bundle, None when there is none.
        incumbent: The live version's name, empty when there is none.
        registry: URI of the registry that the server downloads the candidate from; None leaves
            infra validation out, and the verdict says so.
        config: Thresholds, samples and limits.
        output: Directory to write `metrics.json`, `results/*.jsonl` and, last, `verdict.json` to.
        report: HTML file to write the page for people to.
        origin: Where the candidate is a delta, the whole build that it came from.
        notes: What a reader of the verdict should know besides, one sentence each.
        server: The module, or .py file, of the server.

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
        if lineage := read_lineage(read_manifest(bundle)):
            changes, figures["delta"] = delta_checks.checks(study, lineage, origin, config)
            found += changes
        remarks = [*notes, *study.notes, *_remarks(study, registry, config)]
        progress.advance(note="starting the server" if registry else "")
        if registry:
            launch = Launch(registry, read_manifest(bundle).version, server=server)
            served, figures["server"] = infra.validate(bundle, launch, config)
            found += served
        progress.advance(note="")
    verdict = _verdict(bundle, found, incumbent, remarks, config)
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
    """Returns the checks on quality, answers and vectors, and completes the figures."""
    values = {part.name: part.values for part in study.parts}
    found = quality.absolute(values.get("shopper", {}), values.get("items", {}), config)
    found += _compared(study, figures, config) if study.live else _bootstrap(study, found, config)
    recalls = study.recalls()
    found.append(answers.index_recall(recalls, config))
    if len(recalls):
        figures["index"] = {"recall_at_10": float(recalls.mean()), "queries": float(len(recalls))}
    indexed = sum(item_id in study.index for item_id in study.labels)
    found.append(answers.coverage(indexed, len(study.labels), config))
    for part in study.parts:
        found += _answers(part, study, figures, config)
    live = study.live.vectors if study.live else None
    collapse, figures["embedding"] = vectors.collapse(study.index.vectors, config, incumbent=live)
    norms, lengths = vectors.norms(study.index.vectors, config, incumbent=live)
    figures["embedding"] |= lengths
    found += [*collapse, norms]
    if study.live and study.same_encoder:
        drift = vectors.drift(study.index, study.live, config)
        found += [drift] if drift else []
    return found


def _compared(study: Study, figures: dict[str, Any], config: EvaluateConfig) -> list[Check]:
    """Returns the paired comparison with the incumbent, which must have taken place."""
    found: list[Check] = []
    pairs = []
    for part in study.parts:
        if part.incumbent:
            found += quality.against_incumbent(
                part.name, part.paired_values, part.incumbent_values, config
            )
            pairs.append(
                departments.Pairs(
                    part.name, part.paired_departments, part.paired_values, part.incumbent_values
                )
            )
    changes = departments.changes(pairs, config)
    figures["department_changes"] = [change.to_json() for change in changes]
    found += departments.checks(changes, config)
    if not any(check.name.endswith("_change") for check in found):
        reason = "there is an incumbent, but no query with a known answer could be asked of both"
        found.append(Check("compared_with_incumbent", "fail", reason))
    return found


def _bootstrap(study: Study, absolute: Sequence[Check], config: EvaluateConfig) -> list[Check]:
    """Returns what stands in for the comparison while nothing is live."""
    found = [
        quality.better_than_chance(part.name, part.values, study.chance(part), config)
        for part in study.parts
    ]
    checks = [check for check in found if check]
    measured = len(checks) + len(absolute)
    stated = Check(
        "bootstrap",
        "pass" if measured else "fail",
        "nothing is live: the candidate is held against "
        + (
            f"{len(absolute)} absolute thresholds of quality and against answers drawn at random"
            if measured
            else "nothing, since no query has a known answer; give the catalog labels or photos "
            "with a known product"
        ),
        requirement="something to measure quality by",
    )
    return [stated, *checks]


def _answers(
    part: Part, study: Study, figures: dict[str, Any], config: EvaluateConfig
) -> list[Check]:
    """Returns the checks on what one kind of query is answered with."""
    cosine = config.near_duplicate_cosine
    ours = answers.repeats(study.index, part.asked.hits, cosine)
    theirs = (
        answers.repeats(study.live, part.incumbent.hits, cosine)
        if study.live and part.incumbent
        else None
    )
    repeated = answers.near_duplicates(part.name, ours, config, incumbent=theirs)
    if repeated and repeated.observed is not None:
        figures[f"{part.name}_near_duplicates"] = repeated.observed
    churn = answers.churn(part.name, part.overlaps(), config, same_encoder=study.same_encoder)
    return [check for check in (repeated, churn) if check]


def _remarks(study: Study, registry: str | None, config: EvaluateConfig) -> list[str]:
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
    if not registry:
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
