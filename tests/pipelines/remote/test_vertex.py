"""The commands against a server that speaks Vertex AI's and Artifact Registry's paths."""

from __future__ import annotations

import google.auth
import pytest
import yaml
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2.credentials import Credentials

from components.contracts.errors import InputError
from pipelines.compiled import FILES, VISUAL_SEARCH
from pipelines.remote.vertex import Vertex, make_job

NEEDED = ("--set", "catalog=/gcs/shop/catalog.csv", "--set", "taxonomy=/gcs/shop/taxonomy.csv",
          "--set", "registry=gs://shop/registry")  # fmt: skip
VALUES = {"catalog": "/gcs/shop/c.csv", "taxonomy": "/gcs/shop/t.csv", "registry": "gs://shop/r"}
ROOT = "gs://shop-pipelines/root"

pytestmark = pytest.mark.filterwarnings(
    # Google's client warns of Python 3.11's end of life, and of its own old interfaces.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
)


@pytest.fixture
def to(backends, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_VERTEX_ENDPOINT", backends.url)
    monkeypatch.setenv("LOOKALIKE_VERTEX_REGISTRY", f"{backends.url}/kfp-repository")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", backends.url)
    monkeypatch.setattr(google.auth, "default", lambda **_: (Credentials("a-token"), "shop-1234"))
    monkeypatch.setattr(
        "google.cloud.aiplatform.utils.resource_manager_utils.get_project_number",
        lambda *_, **__: 7,
        raising=False,
    )
    return ("--to", "vertex", "--project", "shop-1234", "--location", "europe-west4")


@pytest.mark.parametrize("name", FILES)
def test_a_job_is_built_from_the_committed_file_without_a_network(name):
    values = VALUES if name == "visual-search" else {"registry": "gs://shop/r"}
    where = Vertex("shop-1234", "europe-west4", pipeline_root=ROOT)

    job = make_job(where, str(FILES[name]), values, name="tonight", login=Credentials("a-token"))

    assert job._gca_resource.display_name == "tonight"
    request = job._gca_resource  # What `submit` would send.
    assert request.pipeline_spec["pipelineInfo"]["name"] == name
    assert request.runtime_config.gcs_output_directory == ROOT


def test_a_parameter_that_the_pipeline_does_not_have_is_refused():
    where = Vertex("shop-1234", "europe-west4", pipeline_root=ROOT)

    with pytest.raises(InputError, match="fly"):
        make_job(where, str(VISUAL_SEARCH), {**VALUES, "fly": 1}, name="x",
                 login=Credentials("a-token"))  # fmt: skip


def test_upload_tags_the_version_and_latest(backends, lookalike, to):
    code, out, message = lookalike("upload", *to, "--version-name", "abc123")

    assert code == 0, message
    (sent,) = backends.calls("POST", "/kfp-repository")
    assert sent.parts["tags"] == b"abc123,latest"
    assert sent.parts["content"] == VISUAL_SEARCH.read_bytes()
    assert out.strip().endswith("/kfp-repository/visual-search/abc123")


def test_submit_creates_a_job_with_typed_values(backends, lookalike, to):
    code, out, message = lookalike(
        "submit", *to, *NEEDED, "--file", VISUAL_SEARCH, "--pipeline-root", ROOT,
        "--set", "train.epochs=3", "--service-account", "runner@shop-1234.iam.gserviceaccount.com",
        "--name", "tonight",
    )  # fmt: skip

    assert code == 0, message
    (job,) = backends.calls("POST", ".*/pipelineJobs")
    assert job.path.endswith("/projects/shop-1234/locations/europe-west4/pipelineJobs")
    assert job.json["displayName"] == "tonight"
    assert job.json["serviceAccount"] == "runner@shop-1234.iam.gserviceaccount.com"
    assert job.json["runtimeConfig"]["gcsOutputDirectory"] == ROOT
    values = job.json["runtimeConfig"]["parameterValues"]
    assert values["train_epochs"] == 3
    assert values["registry"] == "gs://shop/registry"
    assert "started projects/shop-1234/locations/europe-west4/pipelineJobs/" in out


def test_schedule_runs_one_at_a_time_in_utc_and_never_twice(backends, lookalike, to):
    words = ("schedule", *to, *NEEDED, "--file", VISUAL_SEARCH, "--pipeline-root", ROOT,
             "--cron", "0 3 * * *")  # fmt: skip

    code, _, message = lookalike(*words)

    assert code == 0, message
    (made,) = backends.calls("POST", ".*/schedules")
    assert made.json["cron"] == "TZ=UTC 0 3 * * *"
    assert made.json["maxConcurrentRunCount"] in (1, "1")
    code, _, message = lookalike(*words)
    assert code == 1
    assert "the schedule 'visual-search-daily' exists already" in message
    code, _, message = lookalike(*words, "--replace")
    assert code == 0, message
    assert len(backends.schedules) == 1


def test_rejected_credentials_are_one_line(backends, lookalike, to):
    backends.token = "another-token"

    code, _, message = lookalike("upload", *to, "--version-name", "abc123")

    assert code == 1
    assert "rejects the credentials (401) for project shop-1234" in message
    assert "\n" not in message


def test_no_credentials_are_one_line(lookalike, to, monkeypatch):
    def none(**_):
        raise DefaultCredentialsError("looked everywhere")

    monkeypatch.setattr(google.auth, "default", none)

    code, _, message = lookalike("upload", *to, "--version-name", "abc123")

    assert code == 1
    assert "no credentials here; run `gcloud auth application-default login`" in message


def test_a_bad_value_is_refused_before_anything_is_asked(backends, lookalike, to):
    code, _, message = lookalike("submit", *to, *NEEDED, "--file", VISUAL_SEARCH,
                                 "--pipeline-root", ROOT, "--set", "evaluate.margin=7")  # fmt: skip

    assert code == 2
    assert "evaluate.margin: expected 0 to 1" in message
    assert backends.requests == []


def test_a_file_with_kubernetes_settings_is_refused(backends, lookalike, to, tmp_path):
    output = tmp_path / "vs.yaml"
    overlay = VISUAL_SEARCH.with_name("kubernetes.example.yaml")
    assert lookalike("compile", "--pipeline", "visual-search", "--output", output,
                     "--kubernetes", overlay)[0] == 0  # fmt: skip
    second = tmp_path / "vs.kubernetes.yaml"
    assert len(list(yaml.safe_load_all(second.read_text()))) == 2

    code, _, message = lookalike("upload", *to, "--file", second, "--version-name", "v")

    assert code == 2
    assert "which Vertex AI refuses" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"project": "P"}, "--project 'P'"),
        ({"location": "Frankfurt"}, "--location 'Frankfurt': expected a region"),
        ({"pipeline_root": "shop/root"}, "--pipeline-root 'shop/root': expected gs://"),
    ],
)
def test_a_place_that_cannot_be_is_refused(settings, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Vertex(**{"project": "shop-1234", "location": "europe-west4", **settings})
