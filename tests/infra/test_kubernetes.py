"""The manifests: valid, closed, and in step with the programs that they start."""

from __future__ import annotations

import re

import kubernetes_validate
import pytest
import yaml

from components.train import tfjob
from infra import images
from pipelines.cli.rate_command import rate
from serving.identity.config import AccessConfig
from serving.main import parser
from tests.infra.conftest import INFRA, ROOT

PLACES = ("dev", "prod", "training")
# Kubernetes ships no schema of what is not its own.
CUSTOM = {
    "cloud.google.com/v1/BackendConfig",
    "monitoring.googleapis.com/v1/PodMonitoring",
    "networking.gke.io/v1/ManagedCertificate",
}
PROGRAMS = {"lookalike-serving", "lookalike-console", "lookalike-rating"}


def kind(objects, name):
    return [o for o in objects if o["kind"] == name]


def pods(objects):
    return {o["metadata"]["name"]: o["spec"]["template"] for o in kind(objects, "Deployment")}


def selects(selector, labels):
    """Whether a label selector takes these labels; an empty one takes all."""
    wanted = selector.get("matchLabels", {}).items()
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return wanted <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_every_object_is_what_kubernetes_takes(rendered, place, version):
    custom = set()
    for document in rendered[place]:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            custom.add(f"{document['apiVersion']}/{document['kind']}")

    assert custom == (CUSTOM if place == "prod" else set())


def test_the_validator_refuses_what_is_wrong(rendered):
    document = kind(rendered["dev"], "Deployment")[0]
    wrong = {**document, "spec": {**document["spec"], "replicaz": 3}}

    with pytest.raises(kubernetes_validate.ValidationError, match="replicaz"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_pods_are_nobody_and_can_write_nothing_but_their_volumes(rendered, place):
    assert set(pods(rendered[place])) == PROGRAMS
    for pod in pods(rendered[place]).values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert all("sizeLimit" in volumes[name]["emptyDir"] for name in writable)
        assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec)


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_pods_have_probes_and_limits_and_end_in_order(rendered, place):
    for pod in pods(rendered[place]).values():
        (container,) = pod["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        # A pod is killed when it hangs, never for what the registry or a bundle does.
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["requests"])
        assert {"memory", "ephemeral-storage"} == set(container["resources"]["limits"])
        drained = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["spec"]["terminationGracePeriodSeconds"] > drained + 10


@pytest.mark.parametrize("name", ["lookalike-serving", "lookalike-console"])
def test_the_server_knows_every_flag_that_it_is_started_with(rendered, name):
    (container,) = pods(rendered["prod"])[name]["spec"]["containers"]
    assert container["command"][:3] == ["python3", "-m", "serving"]

    given = parser().parse_args(container["command"][3:])

    assert given.host == "0.0.0.0"
    assert [given.port] == [port["containerPort"] for port in container["ports"]]
    caches = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert str(given.cache) in caches


def test_the_rating_application_knows_every_flag_that_it_is_started_with(rendered):
    (container,) = pods(rendered["prod"])["lookalike-rating"]["spec"]["containers"]
    assert container["command"][:2] == ["lookalike", "rate"]

    context = rate.make_context("rate", list(container["command"][2:]))

    assert [context.params["port"]] == [port["containerPort"] for port in container["ports"]]


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_every_variable_and_setting_exists(rendered, place):
    code = "\n".join(
        path.read_text() for path in [*(ROOT / "serving").rglob("*.py"),
                                      *(ROOT / "components").rglob("*.py")]
    )  # fmt: skip
    settings = {o["metadata"]["name"]: o["data"] for o in kind(rendered[place], "ConfigMap")}
    for pod in pods(rendered[place]).values():
        (container,) = pod["spec"]["containers"]
        names = {variable["name"] for variable in container["env"]}
        used = set(re.findall(r"\$\((\w+)\)", " ".join(container["command"])))
        assert used <= names
        for variable in container["env"]:
            name = variable["name"]
            in_command = name in used
            assert in_command or f'"{name}"' in code, f"nobody reads {name}"
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["configMapKeyRef"]
                assert reference["key"] in settings[reference["name"]]


def test_the_console_takes_the_settings_that_production_gives_it(rendered):
    (settings,) = (o["data"] for o in kind(rendered["prod"], "ConfigMap"))

    access = AccessConfig.from_environment(
        {
            "LOOKALIKE_PUBLIC_URL": settings["CONSOLE_URL"],
            "LOOKALIKE_IAP_AUDIENCE": settings["IAP_AUDIENCE"],
            "LOOKALIKE_OPERATORS": settings["OPERATORS"],
        }
    )

    assert access.secure
    assert access.is_operator("ada@example.com")
    assert not access.is_operator("ada@example.org")


def test_shoppers_pods_recognise_no_operator(rendered):
    (container,) = pods(rendered["prod"])["lookalike-serving"]["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}

    assert names.isdisjoint(
        {"LOOKALIKE_TOKEN", "LOOKALIKE_OPERATORS", "LOOKALIKE_IAP_AUDIENCE",
         "LOOKALIKE_IDENTITY_HEADER"}
    )  # fmt: skip


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_the_network_is_closed_unless_a_policy_opens_it(rendered, place):
    policies = kind(rendered[place], "NetworkPolicy")
    closed = [p for p in policies if p["spec"]["podSelector"] == {}]
    assert [p["metadata"]["name"] for p in closed] == ["lookalike-deny-all"]
    assert closed[0]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, pod in pods(rendered[place]).items():
        labels = pod["metadata"]["labels"]
        opened = [p for p in policies if selects(p["spec"]["podSelector"], labels)]
        (port,) = pod["spec"]["containers"][0]["ports"]
        inwards = [rule for p in opened for rule in p["spec"].get("ingress", [])]
        assert inwards
        assert all(rule["from"] for rule in inwards)
        assert {p["port"] for rule in inwards for p in rule["ports"]} == {port["containerPort"]}
        outwards = [rule for p in opened for rule in p["spec"].get("egress", [])]
        assert {p["port"] for rule in outwards for p in rule["ports"]} == {53, 80, 988, 443}, name


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_services_budgets_and_autoscalers_find_their_pods(rendered, place):
    templates = pods(rendered[place])
    for service in kind(rendered[place], "Service"):
        name = service["metadata"]["name"]
        assert service["spec"]["selector"].items() <= templates[name]["metadata"]["labels"].items()
    for budget in kind(rendered[place], "PodDisruptionBudget"):
        selector = budget["spec"]["selector"]
        taken = {n for n, pod in templates.items() if selects(selector, pod["metadata"]["labels"])}
        assert taken == {budget["metadata"]["name"]}
    (scaler,) = kind(rendered[place], "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "lookalike-serving"
    serving = next(o for o in kind(rendered[place], "Deployment")
                   if o["metadata"]["name"] == "lookalike-serving")  # fmt: skip
    assert "replicas" not in serving["spec"], "applying would undo what the autoscaler decided"


def test_production_survives_the_loss_of_a_node(rendered):
    (scaler,) = kind(rendered["prod"], "HorizontalPodAutoscaler")
    budgets = {b["metadata"]["name"] for b in kind(rendered["prod"], "PodDisruptionBudget")}

    assert scaler["spec"]["minReplicas"] >= 2
    assert budgets == {"lookalike-serving", "lookalike-rating"}


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_images_are_ours_and_nothing_is_left_to_fill_in(rendered, place):
    for pod in pods(rendered[place]).values():
        for container in pod["spec"]["containers"]:
            assert container["image"] == images.IMAGES["serving"]
    text = yaml.safe_dump_all(rendered[place])
    assert "@PROJECT" not in text
    accounts = {
        o["metadata"]["name"]: o["metadata"]["annotations"]["iam.gke.io/gcp-service-account"]
        for o in kind(rendered[place], "ServiceAccount")
    }
    assert accounts == {name: f"{name}@my-project.iam.gserviceaccount.com" for name in PROGRAMS}


@pytest.mark.parametrize("place", ["dev", "prod"])
def test_no_secret_stands_in_the_manifests_and_the_guide_says_how_to_make_each(rendered, place):
    assert kind(rendered[place], "Secret") == []
    guide = (INFRA / "README.md").read_text()
    wanted = {
        volume["secret"]["secretName"]
        for pod in pods(rendered[place]).values()
        for volume in pod["spec"]["volumes"]
        if "secret" in volume
    }
    assert wanted == {"lookalike-serving-access", "lookalike-console-access",
                      "lookalike-rating-key"}  # fmt: skip
    for name in (*wanted, "lookalike-scrape"):
        assert f"create secret generic {name}" in guide


def test_every_setting_is_explained(rendered):
    guide = (INFRA / "README.md").read_text()
    for place in ("dev", "prod"):
        (settings,) = (o["data"] for o in kind(rendered[place], "ConfigMap"))
        for name in settings:
            assert f"`{name}`" in guide


def test_the_launcher_may_do_what_it_does_and_no_more(rendered):
    """Compared with the calls in components/train/tfjob.py."""
    source = (ROOT / "components" / "train" / "tfjob.py").read_text()
    calls = {
        "create_namespaced_custom_object": ("kubeflow.org", "tfjobs", "create"),
        "get_namespaced_custom_object": ("kubeflow.org", "tfjobs", "get"),
        "delete_namespaced_custom_object": ("kubeflow.org", "tfjobs", "delete"),
        "list_namespaced_pod": ("", "pods", "list"),
        "read_namespaced_pod_log": ("", "pods/log", "get"),
    }
    made = set(re.findall(r"self\._(?:jobs|pods)\.(\w+)\(", source))
    assert made <= set(calls), "a new call: say what it needs"
    (role,) = kind(rendered["training"], "Role")

    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    assert allowed == {calls[name] for name in made}
    assert tfjob.TFJobs.__doc__
    (binding,) = kind(rendered["training"], "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
