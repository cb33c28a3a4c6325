"""The API is asked what its own OpenAPI schema allows and what it does not (schemathesis).

`LOOKALIKE_FUZZ_EXAMPLES=2000 pytest tests/serving/test_fuzz.py` looks longer, each time elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from components.registry.object_store import open_store
from serving.app import create_app
from serving.engine import Engine
from serving.identity.config import AccessConfig
from serving.identity.throttle import Throttle
from serving.settings import Settings
from serving.withdrawals import Withdrawn

TOKEN = "fuzzing-token-0123456789"
LONGER = int(os.environ.get("LOOKALIKE_FUZZ_EXAMPLES", "0"))
# What the schema allows is refused for other reasons, too: an item that does not exist, bytes
# that are no image, a token that is missing.
NOT_ASKED = [checks.positive_data_acceptance, checks.missing_required_header]


@pytest.fixture(scope="module")
def app(module_maker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "tokens").write_text(f"fuzz operate {TOKEN}\n")
    engine = Engine()
    engine.swap(module_maker.loaded("fuzzed"))
    withdrawn = Withdrawn(
        open_store(str(folder / "registry")), "prod", [engine], copy=folder / "copy.json"
    )
    made = create_app(
        engine,
        Settings(
            bundle=Path("unused"),
            access=AccessConfig(token_file=folder / "tokens"),
            max_upload_bytes=20_000,
        ),
        withdrawn=withdrawn,
    )
    # Wrong tokens are tried here, too, and must not keep the right one out.
    made.state.access.throttle = Throttle(free=10**9)
    yield made
    made.state.service.close()
    made.state.console.close()


def operations(app):
    """Returns the operations of the app's schema, by `METHOD path`."""
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    return {operation.ok().label: operation.ok() for operation in schema.get_all_operations()}


def pytest_generate_tests(metafunc):
    if "label" in metafunc.fixturenames:
        bare = create_app(Engine(), Settings(bundle=Path("unused")))
        metafunc.parametrize("label", sorted(operations(bare)))


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_no_failure_and_every_answer_is_what_the_schema_says(app, label, mode):
    strategy = operations(app)[label].as_strategy(generation_mode=mode)

    @given(case=strategy, known=st.booleans())
    @settings(
        max_examples=LONGER or 12,
        deadline=None,
        derandomize=not LONGER,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case, known):
        if known and "item_id" in (case.path_parameters or {}):
            # By chance alone no item would ever be asked for.
            case.path_parameters["item_id"] = "red1"
        case.call_and_validate(
            headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=NOT_ASKED
        )

    try:
        ask()
    except Unsatisfiable:
        # Where any text is an item's id, and nothing else is asked, nothing is against the schema.
        assert mode is GenerationMode.NEGATIVE
        pytest.skip("the schema forbids nothing here")
