"""docs/serving.md names every setting, variable, metric and option, and no other."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import click

from pipelines.cli.serve_command import serve
from serving.identity import config, sessions, tokens
from serving.metrics import Metrics
from serving.settings import Settings

TEXT = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()


def named(pattern: str) -> set[str]:
    return set(re.findall(pattern, TEXT))


def test_every_setting_stands_there():
    known = {field.name for field in fields(Settings)}
    table = set(re.findall(r"`([a-z_]+)`", TEXT.split("## Settings")[1].split("## Metrics")[0]))
    assert known <= table
    assert table <= known | {"operator", "search", "access"}


def test_every_variable_stands_there_and_no_other():
    source = "".join(inspect.getsource(module) for module in (config, sessions, tokens))
    read = set(re.findall(r'"(LOOKALIKE_[A-Z_]+)"', source)) - {sessions._SHARED_VARIABLE}
    told = named(r"LOOKALIKE_[A-Z_]+")
    assert read <= told
    assert told <= read | {"LOOKALIKE_WEBHOOK_URL", "LOOKALIKE_WEBHOOK_KEY_FILE"}


def test_every_metric_stands_there_and_no_other():
    ours = set()
    for family in Metrics().registry.collect():
        if family.name.startswith("lookalike_"):
            ours.add(f"{family.name}_total" if family.type == "counter" else family.name)
    told = {name.removesuffix("_bucket") for name in named(r"lookalike_[a-z_]+")}
    assert told == ours


def test_every_option_stands_there():
    for option in serve.params:
        if isinstance(option, click.Option):
            assert f"`{option.opts[0]}" in TEXT, option.opts[0]
