"""The application gives out what `issue` finds worth rating, and stops when that says so."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from components.human_eval.aggregate import aggregate
from components.human_eval.issue import wanted, worth_rating
from components.human_eval.judge import gather_ratings, look_at
from components.human_eval.simulated import Truth
from serving.rating.desk import Desk
from serving.rating.links import Secrets

KEYS = Secrets((b"a-secret-that-only-the-tests-have-0123456789",))
RATERS = tuple(f"r{number}" for number in range(14))


def test_only_what_the_gate_still_wants_is_asked(gate):
    gate.publish(raters="web", quality=0.85, config=gate.policy(sampling="traffic"))
    campaign = gate.open()
    plan = campaign.plan
    truth = Truth.of(gate.tiny.items, gate.tiny.queries, gate.tiny.taxonomy)
    desk = Desk(campaign.store, "prod", campaign.id, KEYS, allow_simulated=False)
    now = time.time()

    def everybody(turns):
        given = 0
        for rater in RATERS:
            for _ in range(turns):
                task = desk.next_task(rater, now=now)
                if task is None:
                    break
                grade = truth.grade(task.pair.query_image, task.pair.result_image)
                desk.rate(rater, task.token, str(grade), now=now)
                given += 1
        desk.judge()
        return given

    # Practice: nothing live yet.
    everybody(30)
    labels = aggregate(
        plan, gather_ratings(campaign, now=datetime.now(UTC))[0].valid, campaign.config
    )
    first = wanted(plan, labels, campaign.config)
    listed = worth_rating(
        plan, labels, campaign.config, undecided=lambda _: True, ahead=(1, 2, 4, 8)
    )
    held = {
        pair.task_id
        for rater in RATERS[:4]
        if desk.next_task(rater, now=now)
        for pair in desk.visible(rater, now=now)
        if pair.gold is None
    }
    assert held
    assert held <= set(listed)
    assert held & set(first)

    for _ in range(60):
        if not everybody(10):
            break
    findings = look_at(gate.open(), now=datetime.now(UTC))
    assert findings.verdict.status == "pass"
    # It was decided before all was rated, and then nobody was asked any more, for what they held
    # neither.
    assert findings.labels.needed
    assert desk.snapshot()[0].wanted == 0
    assert all(desk.next_task(rater, now=now) is None for rater in RATERS)
