"""A whole campaign on Google Cloud Storage: published, rated in both ways, judged, promoted."""

from __future__ import annotations

import importlib.util
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.human_eval import step
from components.human_eval.aggregate import screen
from components.human_eval.assignments import live_work, qualification
from components.human_eval.exchange import import_ratings
from components.human_eval.judge import gather_ratings
from components.human_eval.pairs import Binding
from components.human_eval.simulated import Truth
from components.promote.promote import promote_candidate
from components.registry.object_store import open_store
from components.registry.registry import Registry
from serving.rating.desk import Desk
from serving.rating.links import Secrets

pytestmark = [
    pytest.mark.gcs,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
KEYS = Secrets((b"a-secret-that-only-the-tests-have-0123456789",))
ONLINE = ("ann", "bob")
# So many that 50 golds of either side get three ratings each.
VENDOR = tuple(f"w{number:02d}" for number in range(12))


@pytest.fixture
def uri(monkeypatch):
    """An empty folder in a bucket of a fake of Google Cloud Storage."""
    path = Path(__file__).parents[2] / "benchmarks" / "fake_gcs.py"
    spec = importlib.util.spec_from_file_location("fake_gcs", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fake_gcs", module)
    spec.loader.exec_module(module)
    with module.fake_gcs_server() as address:
        module.make_bucket(address, "lookalike-tests")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield "gs://lookalike-tests/campaigns"


@pytest.fixture
def shop(gate, uri, make_bundle, make_verdict, tmp_path):
    """The tiny shop's gate with its registry in the bucket; v1 has passed the offline gate."""
    gate.store = open_store(uri)
    gate.registry = Registry(gate.store)
    gate.registry.publish_bundle(make_bundle(tmp_path / "built", "v1"))
    digest = gate.registry.manifest("v1")[1]
    gate.registry.write_verdict(make_verdict("offline", "v1", digest))
    gate.binding = lambda version="v1", incumbent="": Binding(version, digest, "", "")
    return gate


def rate_online(campaign, grades):
    """Has two people rate in the application, each as much as one person may."""
    for rater in ONLINE:
        desk = Desk(campaign.store, "prod", campaign.id, KEYS, allow_simulated=False)
        now = time.time()
        while (task := desk.next_task(rater, now=now)) is not None:
            desk.rate(rater, task.token, str(grades[task.pair.task_id]), now=now)


def rate_by_files(campaign, grades):
    """Has a vendor's people rate what is left, as CSV."""

    def bring(work):
        rows = [f"{t},{rater},{grades[t]},2.5" for rater, tasks in work.items() for t in tasks]
        text = "task_id,rater_id,grade,seconds\n" + "\n".join(rows) + "\n"
        return import_ratings(
            campaign, text.encode(), "csv", source="vendor.csv", who="tests",
            now=datetime.now(UTC),
        )  # fmt: skip

    plan, config = campaign.plan, campaign.config
    first = qualification(plan, VENDOR, config)
    assert bring(first).added == sum(map(len, first.values()))
    ratings = gather_ratings(campaign, now=datetime.now(UTC))[0].valid
    needed = screen(plan, ratings, config).still_needed()
    seen = {rater: {r.task_id for r in ratings if r.rater_id == rater} for rater in VENDOR}
    found = bring(live_work(plan, needed, VENDOR, seen, config))
    assert (dict(found.set_aside), found.known) == ({}, 0)


def test_a_campaign_from_plan_to_promotion(shop, uri, tmp_path):
    def judged(folder):
        return step.judge(
            uri, "prod", "", str(tmp_path / folder), str(tmp_path / "v.md"),
            str(tmp_path / "r.html"), wait_minutes=0.0,
        )  # fmt: skip

    def promoted():
        return promote_candidate(
            registry=uri, channel="prod", version="v1", expected_incumbent="", who="tests",
            why="daily run",
        )  # fmt: skip

    shop.publish("v1", raters="web", quality=0.9)
    campaign = shop.open()
    truth = Truth.of(shop.tiny.items, shop.tiny.queries, shop.tiny.taxonomy)
    grades = {
        pair.task_id: truth.grade(pair.query_image, pair.result_image)
        for pair in campaign.plan.pairs
    }
    assert judged("before")[0] == "undecided"
    assert promoted().outcome == "refused"

    rate_online(campaign, grades)
    rate_by_files(campaign, grades)
    assert judged("after")[:3] == ("pass", "v1", "none")
    assert shop.open(campaign.id).state.state == "decided"
    # Ratings of the application are there beside those of the files.
    assert (tmp_path / "after" / "ratings.csv").read_text().count(",ann,") > 30
    outcome = promoted()
    assert (outcome.outcome, outcome.reasons) == ("promoted", ())
    assert shop.registry.channel("prod").live == "v1"
