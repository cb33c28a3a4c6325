"""What `lookalike serve` is told of who may do what reaches the server; no option is a secret."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import serving.main
from pipelines.cli import access_options
from pipelines.cli.serve_command import serve
from serving.identity import config
from serving.identity.config import AccessConfig

SERVED = ["--registry", "r", "--channel", "c"]


@pytest.fixture
def start(monkeypatch):
    """Returns what makes the access settings that a server is started with."""
    for name in [name for name in os.environ if name.startswith("LOOKALIKE_")]:
        monkeypatch.delenv(name)
    seen = []

    def run(**_):
        seen.append(AccessConfig.from_environment())
        return 0

    monkeypatch.setattr(serving.main, "serve", run)
    # What the command puts there is taken away again.
    for _, variable, _, _ in access_options._OPTIONS.values():
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv(access_options.CLOSED_VARIABLE, "")

    def make(*arguments, **environment):
        result = CliRunner().invoke(serve, [*SERVED, *arguments], env=environment)
        assert result.exit_code == 0, result.output
        return seen[-1]

    return make


def test_without_options_anybody_may_search_and_nobody_act(start):
    assert start() == AccessConfig()


def test_every_option_reaches_the_server(start):
    assert start(
        *("--token-file", "/tokens", "--session-key-file", "/key", "--session-hours", "1.5"),
        *("--identity-header", "X-Forwarded-Email", "--trusted-proxies", "10.0.0.0/8,127.0.0.1"),
        *("--operators", "ada@shop.example,*@ops.example", "--iap-audience", "/projects/1"),
        *("--public-url", "https://lookalike.shop.example/", "--closed-search"),
    ) == AccessConfig(
        token_file=Path("/tokens"),
        session_key_file=Path("/key"),
        session_hours=1.5,
        identity_header="X-Forwarded-Email",
        trusted_proxies=("10.0.0.0/8", "127.0.0.1"),
        operators=("ada@shop.example", "*@ops.example"),
        iap_audience="/projects/1",
        open_search=False,
        public_url="https://lookalike.shop.example",
    )


def test_the_command_line_goes_before_the_environment(start):
    given = {"LOOKALIKE_PUBLIC_URL": "https://one.example", "LOOKALIKE_CLOSED_SEARCH": "1"}
    assert start(**given) == AccessConfig(public_url="https://one.example", open_search=False)
    found = start("--public-url", "https://two.example", **given)
    assert found == AccessConfig(public_url="https://two.example", open_search=False)


def test_every_variable_but_the_secret_has_an_option():
    known = {variable for _, variable, _, _ in access_options._OPTIONS.values()}
    source = inspect.getsource(config)
    read = {word.strip('"') for word in source.split() if word.startswith('"LOOKALIKE_')}
    assert not read - known - {access_options.CLOSED_VARIABLE}
    options = {option.name for option in serve.params if isinstance(option, click.Option)}
    assert not {"token", "secret", "password", "session_key"} & options


@pytest.mark.parametrize("value", ["0", "-1", "soon"])
def test_hours_that_are_none_are_a_mistake_of_usage(value):
    result = CliRunner().invoke(serve, [*SERVED, "--session-hours", value])
    assert result.exit_code == 2
    assert "--session-hours" in result.output
