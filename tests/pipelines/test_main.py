from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "apache_beam", "kfp", "scann", "numpy", "pandas")


def lookalike(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
    )


def test_help_lists_the_commands():
    run = lookalike("--help")

    assert run.returncode == 0
    for command in ("run", "compile", "serve", "index", "dataset", "ask", "parameters"):
        assert f"\n  {command} " in run.stdout


@pytest.mark.parametrize("command", ["run", "compile", "serve", "ask", "parameters"])
def test_each_command_has_help_with_an_example(command):
    run = lookalike(command, "--help")

    assert run.returncode == 0
    assert "Example:" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--workspace", "w"], "Missing option '--catalog'"),
        (["run", "--pipeline", "release", "--workspace", "w", "--mode", "warm"],
         "--mode means nothing with --pipeline release"),
        (["run", "--catalog", "c.csv", "--taxonomy", "c.csv", "--workspace", "w",
          "--set", "evaluate.margin=7"], "evaluate.margin: expected 0 to 1, received 7.0"),
        (["run", "--catalog", "c.csv", "--taxonomy", "c.csv", "--workspace", "w",
          "--set", "train.margin=-1"], "train.margin: expected at least 0, received -1"),
        (["compile", "--profile", "moon", "--output", "x.yaml"],
         "profile 'moon': expected one of kubeflow-cpu, kubeflow-gpu, laptop, vertex"),
        (["fly"], "No such command 'fly'"),
        (["run", "--catalog", "gone.csv", "--taxonomy", "gone.csv", "--workspace", "w"],
         "--catalog gone.csv: expected a table, found no file"),
        (["run", "--catalog", "c.csv", "--taxonomy", "c.csv", "--workspace", "w",
          "--set", "train.epoch=1"], "unknown parameter 'train.epoch'; did you mean train.epochs"),
        (["run", "--catalog", "c.csv", "--taxonomy", "c.csv", "--workspace", "w",
          "--config", "gone.yaml"], "gone.yaml: the settings cannot be read"),
        (["dataset", "fashion-mnist", "--source", "gone", "--output", "o"], "gone"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_message_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "c.csv").write_text("item_id,image\n")

    run = lookalike(*arguments, cwd=tmp_path)

    assert run.returncode == 2, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_the_on_call_commands_load_nothing_heavy(tmp_path):
    code = (
        "import sys\n"
        "sys.argv = ['lookalike', 'index', 'status', '--registry', sys.argv[1]]\n"
        "from pipelines.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "registry")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.splitlines()[-1] == "[]"
