from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from components.human_eval.step import judge
from pipelines.compiled import FILES
from pipelines.local.ir import read_pipeline
from pipelines.values import check_values


@pytest.mark.parametrize("path", FILES.values())
def test_the_defaults_are_accepted(path):
    parameters = read_pipeline(path).parameters

    check_values({n: p.default for n, p in parameters.items() if p.default is not None})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "daily"}, "mode: expected one of auto, scratch, warm, reuse, received 'daily'"),
        ({"raters": "robots"}, "raters: expected one of web, simulated, none"),
        ({"channel": "a/b"}, "channel 'a/b'"),
        ({"catalog_max_reject_share": 1.5}, r"catalog\.max_reject_share: expected a share"),
        ({"catalog_max_changed_share": -0.1}, r"catalog\.max_changed_share: expected a share"),
        ({"transform_stored_size": 2}, r"transform\.stored_size: expected 16 to 1024 pixels"),
        ({"train_depth": 19}, r"train\.depth: expected one of"),
        ({"train_batch_size": 33, "train_workers": 2}, r"train\.batch_size: expected a multiple"),
        ({"train_options": '{"margin": -1}'}, r"train\.margin: expected at least 0"),
        ({"train_options": '{"marginn": 1}'}, r"train\.marginn: no such parameter; there are"),
        ({"train_options": '{"margin": "x"}'}, r"train\.margin: expected a value like 0\.0"),
        ({"train_options": '{"augmentation": {"blur": []}}'}, r"train\.augmentation\.blur: exp"),
        ({"train_options": '{"threads": 1', "train_epochs": 3}, r"train\.options: expected a JSON"),
        (
            {"train_options": '{"epochs": 1}', "train_epochs": 3},
            r"train\.options: expected no epochs",
        ),
        # What the options say and what the parameters say must go together.
        (
            {"train_options": '{"views_per_product": 4}', "train_batch_size": 36},
            r"train\.views_per_product: expected a divisor of the 18",
        ),
        ({"embed_batch_size": 0}, r"embed\.batch_size: expected at least 1"),
        ({"index_recall_target": 1.2}, r"index\.recall_target"),
        ({"evaluate_margin": 7.0}, r"evaluate\.margin: expected 0 to 1, received 7\.0"),
        ({"evaluate_margin": float("nan")}, r"evaluate\.margin"),
        ({"human_eval_tau": 1.0}, "tau"),
        ({"human_eval_policy": "lax"}, r"human_eval\.policy: expected one of production, demo"),
        ({"judge_wait_minutes": -1.0}, r"judge\.wait_minutes: expected 0 to 10080 minutes"),
        ({"human_eval_wait_minutes": -1.0}, r"human_eval\.wait_minutes: expected 0 to 10080"),
        ({"human_eval_wait_minutes": float("nan")}, r"human_eval\.wait_minutes"),
        ({"human_eval_wait_minutes": 10081.0}, r"human_eval\.wait_minutes"),
        ({"embed_beam_options": "--runner=Flick"}, r"embed\.beam_options: expected a runner"),
        ({"transform_beam_options": "--a='"}, r"transform\.beam_options: expected options as in"),
        ({"notify_webhook_secret": "https://h/x"}, r"notify\.webhook_secret: expected projects/"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(values, message):
    with pytest.raises(InputError, match=message):
        check_values(values)


def test_an_address_given_as_the_secrets_name_is_not_repeated():
    with pytest.raises(InputError) as caught:
        check_values({"notify_webhook_secret": "https://hooks.example/T0KEN"})

    assert "T0KEN" not in str(caught.value)


@pytest.mark.parametrize("minutes", [-0.5, 10080.5])
def test_the_step_refuses_the_waits_that_are_refused_here(minutes):
    with pytest.raises(InputError, match="expected 0 to 10080"):
        judge("nowhere", "demo", "", "", "", "", wait_minutes=minutes)
