"""The commands against a server that speaks Kubeflow Pipelines' paths."""

from __future__ import annotations

import socket

import pytest
import yaml

from components.contracts.errors import InputError
from pipelines.compiled import RELEASE, VISUAL_SEARCH
from pipelines.remote.kubeflow import Kubeflow

NEEDED = ("--set", "catalog=/data/catalog.csv", "--set", "taxonomy=/data/taxonomy.csv",
          "--set", "registry=gs://shop/registry")  # fmt: skip
V2 = "/apis/v2beta1"


@pytest.fixture
def to(backends):
    return ("--to", "kubeflow", "--host", backends.url)


@pytest.fixture
def uploaded(backends, lookalike, to):
    assert lookalike("upload", *to, "--version-name", "abc123")[0] == 0
    backends.requests.clear()


def test_upload_makes_a_pipeline_and_a_version_named_as_asked(backends, lookalike, to):
    code, out, message = lookalike("upload", *to, "--version-name", "abc123")

    assert code == 0, message
    assert "visual-search abc123: uploaded http" in out
    (made,) = backends.calls("POST", f"{V2}/pipelines")
    assert made.json["display_name"] == "visual-search"
    assert made.json["description"].startswith("Rebuilds the visual-similarity index")
    (version,) = backends.calls("POST", f"{V2}/pipelines/upload_version")
    assert version.query["name"] == ["abc123"]
    assert version.parts["uploadfile"] == VISUAL_SEARCH.read_bytes()


def test_the_version_is_named_by_the_commit(backends, lookalike, to, monkeypatch):
    monkeypatch.setenv("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567")

    code, out, _ = lookalike("upload", *to, "--pipeline", "release")

    assert code == 0
    assert "release 0123456789ab: uploaded" in out
    (version,) = backends.calls("POST", f"{V2}/pipelines/upload_version")
    assert version.query["name"] == ["0123456789ab"]
    assert version.parts["uploadfile"] == RELEASE.read_bytes()


def test_uploading_the_same_commit_again_changes_nothing(backends, lookalike, to, uploaded):
    code, out, _ = lookalike("upload", *to, "--version-name", "abc123")

    assert code == 0
    assert "was there already" in out
    assert backends.calls("POST", ".*") == []


def test_another_pipeline_under_a_known_version_is_refused(
    backends, lookalike, to, uploaded, tmp_path
):
    other = tmp_path / "other.yaml"
    assert lookalike("compile", "--pipeline", "visual-search", "--profile", "laptop",
                     "--output", other)[0] == 0  # fmt: skip

    code, _, message = lookalike("upload", *to, "--file", other, "--version-name", "abc123")

    assert code == 1
    assert "has another pipeline as version abc123; a version never changes" in message


def test_submit_runs_the_newest_version_with_typed_values(backends, lookalike, to, uploaded):
    lookalike("upload", *to, "--version-name", "def456", "--pipeline", "visual-search")

    code, out, message = lookalike(
        "submit", *to, *NEEDED, "--set", "train.epochs=3", "--set", "evaluate.margin=0.05",
        "--name", "tonight", "--service-account", "runner",
    )  # fmt: skip

    assert code == 0, message
    (run,) = backends.calls("POST", f"{V2}/runs")
    assert out.startswith("started run-")
    assert f"{backends.url}/#/runs/details/run-" in out
    assert run.json["display_name"] == "tonight"
    assert run.json["service_account"] == "runner"
    newest = list(backends.versions)[-1]
    assert run.json["pipeline_version_reference"]["pipeline_version_id"] == newest
    assert run.json["runtime_config"]["parameters"] == {
        "catalog": "/data/catalog.csv",
        "taxonomy": "/data/taxonomy.csv",
        "registry": "gs://shop/registry",
        "train_epochs": 3,
        "evaluate_margin": 0.05,
    }


def test_values_come_from_a_file_too_and_the_command_line_wins(
    backends, lookalike, to, uploaded, tmp_path
):
    config = tmp_path / "daily.yaml"
    config.write_text(yaml.safe_dump({
        "catalog": "/data/c.csv", "taxonomy": "/data/t.csv", "registry": "gs://shop/registry",
        "train": {"epochs": 5, "learning_rate": 0.05},
    }))  # fmt: skip

    code, _, message = lookalike("submit", *to, "--config", config, "--set", "train.epochs=7")

    assert code == 0, message
    (run,) = backends.calls("POST", f"{V2}/runs")
    assert run.json["runtime_config"]["parameters"]["train_epochs"] == 7
    assert run.json["runtime_config"]["parameters"]["train_learning_rate"] == 0.05


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "train.epoch=3"], "unknown parameter 'train.epoch'; did you mean train.epochs"),
        (["--set", "train.epochs=many"], "train_epochs: expected a whole number, received 'many'"),
        (["--set", "evaluate.margin=7"], "evaluate.margin: expected 0 to 1, received 7.0"),
        (["--set", "mode=daily"], "mode: expected one of auto, scratch, warm, reuse"),
        (["--set", "channel=a b"], "channel 'a b': expected letters, digits and hyphens"),
        (["--set", "catalog="], "catalog: expected a value, since there is no default"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_asked_of_the_host(
    backends, lookalike, to, words, message
):
    code, _, said = lookalike("submit", *to, *NEEDED, *words)

    assert code == 2
    assert message in said
    assert backends.requests == []


def test_an_unknown_version_is_refused_with_those_that_there_are(backends, lookalike, to, uploaded):
    code, _, message = lookalike("submit", *to, *NEEDED, "--version-name", "abc124")

    assert code == 2
    assert "--version-name 'abc124': not found; there are abc123" in message
    assert backends.calls("POST", ".*") == []


def test_a_pipeline_that_was_never_uploaded_is_refused(lookalike, to):
    code, _, message = lookalike("submit", *to, *NEEDED)

    assert code == 2
    assert "no pipeline 'visual-search' was uploaded yet (lookalike upload)" in message


def test_schedule_makes_a_recurring_run_and_never_a_second_by_accident(
    backends, lookalike, to, uploaded
):
    words = ("schedule", *to, *NEEDED, "--cron", "0 3 * * *")

    assert lookalike(*words)[0] == 0
    (made,) = backends.calls("POST", f"{V2}/recurringruns")
    assert made.json["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert made.json["max_concurrency"] in (1, "1")
    assert made.json["no_catchup"] is True
    assert made.json["display_name"] == "visual-search-daily"

    code, _, message = lookalike(*words)
    assert code == 1
    assert "the schedule 'visual-search-daily' exists already; --replace" in message
    assert len(backends.recurring) == 1

    first = list(backends.recurring)
    assert lookalike(*words, "--replace")[0] == 0
    assert len(backends.recurring) == 1
    assert list(backends.recurring) != first


@pytest.mark.parametrize("cron", ["daily", "0 3 * *", "0 0 3 * * *", "0 3 * * MON;rm"])
def test_a_bad_cron_is_refused(backends, lookalike, to, cron):
    code, _, message = lookalike("schedule", *to, *NEEDED, "--cron", cron)

    assert code == 2
    assert "expected five fields" in message
    assert backends.requests == []


def test_rejected_credentials_are_one_line_and_nothing_starts(backends, lookalike, to, tmp_path):
    backends.token = "right"
    token = tmp_path / "token"
    token.write_text("wrong-and-secret\n")

    code, _, message = lookalike("upload", *to, "--token-file", token, "--version-name", "v")

    assert code == 1
    assert f"rejects the credentials in {token} (401)" in message
    assert "\n" not in message
    assert "wrong-and-secret" not in message
    assert [r.method for r in backends.requests] == ["GET"]


def test_the_right_token_is_taken(backends, lookalike, to, tmp_path):
    backends.token = "right"
    token = tmp_path / "token"
    token.write_text("right\n")

    assert lookalike("upload", *to, "--token-file", token, "--version-name", "v")[0] == 0
    assert lookalike("upload", *to, "--version-name", "v")[0] == 1


def test_an_unreachable_host_is_one_line(lookalike):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
    code, _, message = lookalike("upload", "--to", "kubeflow", "--host", host,
                                 "--version-name", "v")  # fmt: skip

    assert code == 1
    assert message.startswith(f"{host}: cannot be reached (")
    assert "\n" not in message


def test_a_host_that_is_something_else_is_said_so(backends, lookalike):
    code, _, message = lookalike(
        "upload", "--to", "kubeflow", "--host", f"{backends.url}/elsewhere", "--version-name", "v"
    )

    assert code == 1
    assert "expected the address of Kubeflow Pipelines' API" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["upload", "--to", "kubeflow"], "needs --host"),
        (["upload", "--to", "kubeflow", "--host", "h", "--project", "p"],
         "--project means nothing with --to kubeflow"),
        (["upload", "--to", "kubeflow", "--host", "nowhere", "--version-name", "v"],
         "--host 'nowhere': expected an address"),
        (["upload", "--to", "kubeflow", "--host", "http://h", "--version-name", "a b"],
         "--version-name 'a b': expected letters"),
        (["upload", "--to", "kubeflow", "--host", "http://h", "--file", "gone.yaml"],
         "gone.yaml: the pipeline cannot be read"),
        (["upload", "--to", "kubeflow", "--host", "http://h", "--file", RELEASE],
         "holds the pipeline release; give --pipeline release"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_gets_exit_code_2(lookalike, words, message):
    code, _, said = lookalike(*words)

    assert code == 2
    assert message in said


def test_a_token_file_with_more_than_a_token_is_refused(tmp_path, lookalike, to):
    path = tmp_path / "token"
    path.write_text("two words")

    code, _, message = lookalike("upload", *to, "--token-file", path, "--version-name", "v")

    assert code == 2
    assert "expected one token" in message


def test_a_host_without_a_scheme_is_refused():
    with pytest.raises(InputError, match="expected an address"):
        Kubeflow(host="kubeflow.example")
