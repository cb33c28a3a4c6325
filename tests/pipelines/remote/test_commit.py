from __future__ import annotations

import subprocess

import pytest

from components.contracts.errors import InputError
from pipelines.remote import commit

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_ci(monkeypatch):
    monkeypatch.delenv("GITHUB_SHA", raising=False)
    monkeypatch.delenv("COMMIT_SHA", raising=False)


def git(monkeypatch, status):
    said = {"rev-parse": f"{SHA}\n", "status": status}
    monkeypatch.setattr(commit, "_git", lambda root, *words: said[words[0]])


def test_a_given_name_is_taken():
    assert commit.version_name("release-7") == "release-7"


@pytest.mark.parametrize("name", ["a b", "-x", "a/b", "x" * 129])
def test_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(InputError, match="expected letters"):
        commit.version_name(name)


@pytest.mark.parametrize("variable", ["GITHUB_SHA", "COMMIT_SHA"])
def test_in_ci_the_commit_that_is_built(monkeypatch, variable):
    monkeypatch.setenv(variable, SHA)
    assert commit.version_name("") == "0123456789ab"


def test_in_a_checkout_its_commit(monkeypatch):
    git(monkeypatch, "")
    assert commit.version_name("") == "0123456789ab"


def test_a_checkout_with_changes_names_no_version(monkeypatch):
    git(monkeypatch, " M components/index/tune.py\n")
    with pytest.raises(InputError, match="1 files differ from the commit 0123456789ab"):
        commit.version_name("")


def test_without_a_checkout_a_name_is_asked_for(monkeypatch):
    def none(*_):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(commit, "_git", none)
    with pytest.raises(InputError, match="expected a name"):
        commit.version_name("")
