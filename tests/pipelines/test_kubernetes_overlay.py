from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import pipelines
from components.contracts.errors import InputError
from pipelines.compiler import Options, compile_documents
from pipelines.kubernetes_overlay import SETTINGS, read_overlay
from pipelines.lint import find_faults
from pipelines.profile import COMMITTED, read_profile

EXAMPLE = Path(pipelines.__file__).with_name("kubernetes.example.yaml")


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def compiled():
    options = Options(read_profile(COMMITTED), read_overlay(EXAMPLE))
    return compile_documents("visual-search", options)


def test_the_settings_go_into_a_second_document_that_kfp_can_read(compiled):
    assert len(compiled) == 2
    assert list(find_faults(compiled)) == []


def test_each_setting_reaches_its_task(compiled):
    executors = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    train = executors["exec-train"]
    assert train["nodeSelector"]["labels"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert train["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert train["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    assert train["pvcMount"][0]["mountPath"] == "/data"
    assert train["podMetadata"]["labels"] == {"app.kubernetes.io/part-of": "lookalike"}
    secret = executors["exec-notify"]["secretAsEnv"][0]
    assert secret["secretName"] == "lookalike-webhook"
    assert secret["keyToEnv"] == [{"secretKey": "url", "envVar": "LOOKALIKE_WEBHOOK_URL"}]
    # All of it holds for every task.
    assert all(entry["imagePullPolicy"] == "IfNotPresent" for entry in executors.values())


def test_a_plain_variable_stands_in_the_task_itself(compiled):
    container = compiled[0]["deploymentSpec"]["executors"]["exec-notify"]["container"]

    assert container["env"] == [
        {"name": "LOOKALIKE_WEBHOOK_KEY_FILE", "value": "/etc/lookalike-webhook/key"}
    ]


def test_the_example_shows_what_there_is():
    text = EXAMPLE.read_text()
    shown = {name for name in SETTINGS if re.search(rf"\b{name}:", text)}

    assert shown >= set(SETTINGS) - {"image_pull_secrets", "annotations"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: {trian: {}}", "unknown step 'trian'; did you mean train?"),
        ("steps: {train: {node_selectors: {}}}", "unknown setting 'node_selectors'; did you mean"),
        ("steps: {train: {node_selector: {gpu: true}}}", "quote true and numbers"),
        ("steps: {train: {tolerations: {key: a}}}", "expected a list"),
        ("steps: {train: {tolerations: [{key: a, effect: Never}]}}", "effect: expected one of"),
        ("all: {volumes: [{claim: data}]}", "expected claim and mount; mount is missing"),
        ("all: {volumes: [{claim: My_Data, mount: /data}]}", "expected a Kubernetes name"),
        ("all: {volumes: [{claim: data, mount: data}]}", "expected an absolute path"),
        ("steps: {notify: {secrets_as_env: [{secret: s, env: {url: web-hook}}]}}",
         "expected 'key of the secret: ENVIRONMENT_VARIABLE'"),
        ("all: {image_pull_policy: Sometimes}", "expected one of Always, IfNotPresent, Never"),
        ("nodes: {}", "unknown key 'nodes'"),
        ("steps: {train: 3}", "steps.train: expected 'setting: value' lines"),
    ],
)  # fmt: skip
def test_what_kubernetes_would_refuse_is_refused_here(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_overlay(write(tmp_path, text))


def test_a_file_is_needed(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_overlay(tmp_path / "gone.yaml")


def test_the_example_is_a_mapping():
    assert isinstance(yaml.safe_load(EXAMPLE.read_text()), dict)
