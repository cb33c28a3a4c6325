"""The Terraform module: well formed, in step with the code, and as the guide says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache

import hcl2
import pytest

from pipelines.compiled import VISUAL_SEARCH
from pipelines.local.ir import read_pipeline
from serving.metrics import Metrics
from tests.infra.conftest import INFRA, ROOT, program

TERRAFORM = INFRA / "terraform"
# Prefixes of the registry that no running program writes: policies are an administrator's, and
# removing versions for good is too.
BY_HAND = {"policies", "condemned"}


@cache
def parsed():
    """All blocks of the module: kind -> list of blocks."""
    blocks = {}
    for path in sorted(TERRAFORM.glob("*.tf")):
        with path.open() as file:
            for kind, entries in hcl2.load(file).items():
                blocks.setdefault(kind, []).extend(entries if isinstance(entries, list) else [])
    return blocks


def unquoted(value):
    """python-hcl2 keeps the quotes of strings and of labels."""
    if isinstance(value, str):
        return value[1:-1] if value.startswith('"') else value
    if isinstance(value, dict):
        return {unquoted(k): unquoted(v) for k, v in value.items() if k != "__is_block__"}
    if isinstance(value, list):
        return [unquoted(entry) for entry in value]
    return value


def named(kind):
    return {name: body for block in unquoted(parsed()[kind]) for name, body in block.items()}


def local(name):
    (value,) = [block[name] for block in unquoted(parsed()["locals"]) if name in block]
    return value


def resources(kind):
    return {
        name: body
        for block in unquoted(parsed()["resource"])
        for resource, bodies in block.items()
        if resource == kind
        for name, body in bodies.items()
    }


def text():
    return "\n".join(path.read_text() for path in sorted(TERRAFORM.glob("*.tf")))


def test_it_is_formatted_and_parses():
    done = subprocess.run(
        [program("terraform"), "fmt", "-check", "-diff", str(TERRAFORM)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout


def test_every_reference_has_its_declaration():
    source = text()
    locals_ = {name for block in unquoted(parsed()["locals"]) for name in block}
    made = {
        f"{kind}.{name}"
        for block in unquoted(parsed()["resource"])
        for kind, bodies in block.items()
        for name in bodies
    }

    assert set(re.findall(r"\bvar\.(\w+)", source)) == set(named("variable"))
    assert set(re.findall(r"\blocal\.(\w+)", source)) <= locals_
    assert set(re.findall(r"\bgoogle_\w+\.\w+", source)) <= made


def test_every_variable_and_output_is_described():
    for kind in ("variable", "output"):
        for name, body in named(kind).items():
            assert body["description"].endswith("."), name


def test_the_guide_names_every_variable_and_output_and_no_other():
    guide = (INFRA / "README.md").read_text()
    tables = {}
    for kind in ("variable", "output"):
        section = guide[guide.index(f"| {kind} |") :].partition("\n\n")[0]
        tables[kind] = set(re.findall(r"^\| `(\w+)`", section, flags=re.MULTILINE))

    assert tables["variable"] == set(named("variable"))
    assert tables["output"] == set(named("output"))


@pytest.mark.parametrize("document", ["infra/README.md", "docs/pipeline.md"])
def test_documents_use_outputs_that_exist(document):
    path = ROOT / document
    if not path.exists():
        pytest.skip(f"{document} is not written yet")
    wanted = re.findall(r"terraform (?:-chdir=\S+ )?output (?:-raw |-json )?(\w+)",
                        path.read_text())  # fmt: skip

    assert set(wanted) <= set(named("output"))


def test_buckets_are_private_versioned_and_keep_what_they_must():
    buckets = resources("google_storage_bucket")
    assert set(buckets) == {"registry", "catalog", "runs", "audit"}
    for bucket in buckets.values():
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["uniform_bucket_level_access"] is True
        assert bucket["force_destroy"] is False
    for name in ("registry", "catalog", "runs"):
        assert buckets[name]["versioning"][0]["enabled"] is True
    # A lock on the registry would keep channels from moving; the log of its changes has one.
    assert "retention_policy" not in buckets["registry"]
    assert "var.keep_audit_days" in buckets["audit"]["retention_policy"][0]["retention_period"]
    for name in ("registry", "audit"):
        assert buckets[name]["lifecycle"][0]["prevent_destroy"] is True


def test_the_table_of_rights_covers_every_prefix_that_the_registry_writes():
    source = "\n".join(p.read_text() for p in (ROOT / "components" / "registry").glob("*.py"))
    written = set(re.findall(r'f"(\w+)/\{check_', source)) | set(
        re.findall(r'f"(bundles|verdicts|history|campaigns|reuse)/\{', source)
    )
    assert {"bundles", "channels", "history", "verdicts", "claims"} <= written

    covered = {prefix for prefixes in local("access").values() for prefix in prefixes}

    assert covered | BY_HAND == written | BY_HAND


def test_who_builds_cannot_promote_and_who_serves_can_overwrite_nothing():
    access = local("access")

    assert set(access["serving"].values()) == {"create"}
    assert access["serving"].keys().isdisjoint({"bundles", "channels", "history", "verdicts"})
    assert {"channels", "history"}.isdisjoint(access["builder"])
    assert {"channels", "history"} <= set(access["releaser"])
    assert access["releaser"].keys().isdisjoint({"bundles", "claims"})
    assert set(access["rating"]) == {"campaigns"}
    verdict_writers = {name for name, prefixes in access.items() if "verdicts" in prefixes}
    assert verdict_writers == {"builder", "releaser"}


def test_what_is_written_once_cannot_be_overwritten():
    """objectCreator may not replace or delete; objectUser may."""
    for account, prefixes in local("access").items():
        for prefix, how in prefixes.items():
            once = prefix in ("bundles", "verdicts", "history", "queries", "trials")
            assert how == ("create" if once else "change"), (account, prefix)
    assert local("roles") == {
        "create": "roles/storage.objectCreator",
        "change": "roles/storage.objectUser",
    }


def test_no_program_gets_a_broad_role():
    roles = set(re.findall(r"roles/[\w.]+", text()))

    assert roles == {
        "roles/aiplatform.user",
        "roles/artifactregistry.reader",
        "roles/artifactregistry.writer",
        "roles/iam.serviceAccountUser",
        "roles/iam.workloadIdentityUser",
        "roles/logging.logWriter",
        "roles/logging.viewer",
        "roles/secretmanager.secretAccessor",
        "roles/storage.objectCreator",
        "roles/storage.objectUser",
        "roles/storage.objectViewer",
    }
    assert "google_service_account_key" not in text(), "keys leak; identities are federated"


def test_accounts_in_the_cluster_are_those_of_the_manifests():
    manifests = INFRA / "kubernetes" / "base"
    programs = {path.parent.name for path in manifests.glob("*/service-account.yaml")}

    assert re.search(r"in_cluster = toset\(\[(.*?)\]\)", text())
    assert (
        set(re.findall(r'in_cluster = toset\(\["(.*?)"\]\)', text())[0].split('", "')) == programs
    )


def test_alerts_ask_for_metrics_that_the_server_has():
    known = {
        sample.name for family in Metrics().registry.collect() for sample in family.samples
    } | {name for family in Metrics().registry.collect() for name in _names(family)}
    queries = [alert["query"] for alert in local("alerts").values()]

    for query in queries:
        for name in re.findall(r"lookalike_\w+", query):
            assert name in known, name


def _names(family):
    """Series names of a family without any label value yet."""
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return [f"{family.name}{ending}" for ending in endings.get(family.type, [""])]


def test_every_alert_says_what_to_do_and_its_commands_exist():
    runbook_commands = {"status", "rollback", "history", "diff", "freeze"}
    for name, alert in local("alerts").items():
        assert len(alert["advice"]) > 60, name
        used = re.findall(r"`lookalike index (\w+)`", alert["advice"])
        assert set(used) <= runbook_commands


def test_the_schedule_starts_a_pinned_version_as_the_builder():
    job = resources("google_cloud_scheduler_job")["nightly"]
    body = job["http_target"][0]["body"]

    assert "var.pipeline_version" in body
    assert 'local.emails["builder"]' in body.replace("'", '"')
    assert job["retry_config"]


def test_the_nightly_run_passes_parameters_that_the_pipeline_has():
    body = resources("google_cloud_scheduler_job")["nightly"]["http_target"][0]["body"]
    source = (TERRAFORM / "schedule.tf").read_text()
    block = source[source.index("parameterValues") :].partition("})")[0]
    passed = set(re.findall(r"^ +(\w+) +=", block, flags=re.MULTILINE)) - {"parameterValues"}
    reserved = set(re.findall(r'"(\w+)"', named("variable")["pipeline_parameters"]["validation"][0]
                                           ["condition"].replace("'", '"')))  # fmt: skip

    assert {"catalog", "taxonomy", "queries", "votes", "registry", "channel", "raters",
            "notify_webhook_secret"} == passed == reserved  # fmt: skip
    assert passed <= set(read_pipeline(VISUAL_SEARCH).parameters)
    # Only people, or nobody, judge what may reach shoppers at night.
    assert named("variable")["raters"]["default"] == "web"
    assert "var.notify" in body
    assert 'google_secret_manager_secret.used["webhook"].id' in source


def evaluated(folder, expression, **variables):
    """What Terraform makes of an expression over the module's variables, without any provider."""
    shutil.copy(TERRAFORM / "variables.tf", folder)
    given = [f"-var={name}={value}" for name, value in variables.items()]
    return subprocess.run(
        [program("terraform"), f"-chdir={folder}", "console", "-var=project=my-project",
         "-var=environment=prod", *given],
        input=expression, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_number_of_the_nightly_run_stays_a_number(tmp_path):
    done = evaluated(tmp_path, "jsonencode(var.pipeline_parameters)",
                     pipeline_parameters='{evaluate_margin=0.01,mode="reuse"}')  # fmt: skip

    assert json.loads(json.loads(done.stdout)) == {"evaluate_margin": 0.01, "mode": "reuse"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("raters", "simulated", "expected web or none"),
        ("pipeline_parameters", '{channel="x"}', "have variables of their own"),
        ("pipeline_version", "latest", "expected a commit"),
        ("keep_versions_days", "1", "expected at least 7"),
    ],
)
def test_what_could_not_be_meant_is_refused_by_name(tmp_path, name, value, words):
    done = evaluated(tmp_path, f"var.{name}", **{name: value})

    said = " ".join(re.sub(r"\x1b\[[0-9;]*m|│", "", done.stderr).split())
    assert f"{name}: " in said
    assert words in said


def test_the_example_sets_variables_that_exist():
    with (TERRAFORM / "terraform.tfvars.example").open() as file:
        given = {name for name in hcl2.load(file) if not name.startswith("__")}

    required = {name for name, body in named("variable").items() if "default" not in body}
    assert required <= given <= set(named("variable"))
