"""A small compiled pipeline that the tests of the local runner run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOY = """
components:
  comp-first:
    executorLabel: exec-first
    inputDefinitions:
      parameters:
        number: {parameterType: NUMBER_INTEGER}
        trouble: {parameterType: STRING}
    outputDefinitions:
      artifacts:
        table: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
        report: {artifactType: {schemaTitle: system.HTML, schemaVersion: 0.0.1}}
      parameters:
        doubled: {parameterType: NUMBER_INTEGER}
  comp-second:
    executorLabel: exec-second
    inputDefinitions:
      artifacts:
        table: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
      parameters:
        doubled: {parameterType: NUMBER_INTEGER}
        share: {parameterType: NUMBER_DOUBLE}
    outputDefinitions:
      artifacts:
        metrics: {artifactType: {schemaTitle: system.Metrics, schemaVersion: 0.0.1}}
      parameters:
        Output: {parameterType: STRING}
deploymentSpec:
  executors:
    exec-first:
      container:
        image: none
        args: [--executor_input, '{{$}}', --function_to_execute, first]
        command:
        - sh
        - -ec
        - program
        - |
          import kfp
          from kfp import dsl
          from kfp.dsl import *
          from typing import *
          def first(number: int, trouble: str, table: Output[Dataset], report: Output[HTML]) -> NamedTuple("Outputs", [("doubled", int)]):
              import os, signal
              from pathlib import Path
              from components.contracts.errors import InputError
              Path(table.path).mkdir(parents=True)
              Path(table.path, "half").write_text("half")
              if trouble == "mistake":
                  raise InputError("table.csv, row 3: expected a number, received 'x'")
              if trouble == "bug":
                  raise ValueError("nobody thought of this")
              if trouble == "kill":
                  os.kill(os.getpid(), signal.SIGKILL)
              tries = Path(os.environ.get("TOY_TRIES", "/nowhere"))
              if trouble in ("outage", "always out"):
                  from components.contracts.errors import LookalikeError
                  from components.registry.object_store import OutcomeUnknownError
                  tries.write_text(tries.read_text() + "." if tries.exists() else ".")
                  if trouble == "always out" or len(tries.read_text()) < 3:
                      try:
                          raise OutcomeUnknownError("no answer")
                      except OutcomeUnknownError as error:
                          raise LookalikeError("the bundle was not published") from error
              if trouble == "told":
                  from components.contracts.errors import LookalikeError
                  raise LookalikeError("no campaign was ever published")
              Path(table.path, "rows").write_text(str(number))
              Path(report.path).write_text("<p>hello</p>")
              return (number * 2,)
    exec-second:
      container:
        image: none
        args: [--executor_input, '{{$}}', --function_to_execute, second]
        command:
        - sh
        - -ec
        - program
        - |
          import kfp
          from kfp import dsl
          from kfp.dsl import *
          from typing import *
          def second(table: Input[Dataset], doubled: int, share: float, metrics: Output[Metrics]) -> str:
              from pathlib import Path
              metrics.log_metric("share", share)
              return f"{Path(table.path, 'rows').read_text()} {doubled} {share}"
pipelineInfo: {name: toy}
root:
  dag:
    tasks:
      second:
        cachingOptions: {}
        componentRef: {name: comp-second}
        dependentTasks: [first]
        taskInfo: {name: second}
        inputs:
          artifacts:
            table:
              taskOutputArtifact: {outputArtifactKey: table, producerTask: first}
          parameters:
            doubled:
              taskOutputParameter: {outputParameterKey: doubled, producerTask: first}
            share: {componentInputParameter: second_share}
      first:
        cachingOptions: {enableCache: true}
        retryPolicy: {backoffDuration: 60s, backoffFactor: 2.0, backoffMaxDuration: 90s, maxRetryCount: 2}
        componentRef: {name: comp-first}
        taskInfo: {name: first}
        inputs:
          parameters:
            number: {componentInputParameter: first_number}
            trouble: {runtimeValue: {constant: TROUBLE}}
  inputDefinitions:
    parameters:
      first_number: {parameterType: NUMBER_INTEGER, defaultValue: 3.0, isOptional: true, description: A number.}
      second_share: {parameterType: NUMBER_DOUBLE, defaultValue: 0.5, isOptional: true}
      needed: {parameterType: STRING}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""  # noqa: E501


@pytest.fixture(scope="session")
def branching(tmp_path_factory) -> Path:
    """A pipeline with three branches and an exit handler, compiled by kfp."""
    specification = importlib.util.spec_from_file_location(
        "branches", Path(__file__).with_name("branches.py")
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    path = tmp_path_factory.mktemp("compiled") / "branches.yaml"
    module.write(path)
    return path


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A compiled pipeline of two steps that ends well."""
    path = tmp_path / "toy.yaml"
    path.write_text(TOY.replace("TROUBLE", "none"))
    return path


@pytest.fixture
def troubled(tmp_path: Path):
    """Returns a function that writes the pipeline with one kind of trouble in its first step."""

    def write(trouble: str) -> Path:
        path = tmp_path / f"{trouble}.yaml"
        path.write_text(TOY.replace("TROUBLE", trouble))
        return path

    return write
