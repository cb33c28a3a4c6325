"""Times the compiler and the local runner against their targets; prints JSON.

- compile: `lookalike compile` beside `python -c "import kfp"`, taken in turns, medians.
- runner: a pipeline of steps that do nothing, so that all of its time is the runner's.
- again: a finished run of the demo once more, unchanged (only with --workspace).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "dev-mini"


def timed(command: list[str], cwd: Path) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - start, done.stdout


def compile_times(repeats: int, folder: Path) -> dict[str, float]:
    lookalike = [sys.executable, "-m", "pipelines.cli.main"]
    both: dict[str, list[float]] = {"import_kfp": [], "compile_both": [], "compile_one": []}
    one = ["compile", "--pipeline", "visual-search", "--output", str(folder / "one.yaml")]
    # Written as they are committed; the same bytes, so the tree stays clean.
    commands = {
        "import_kfp": [sys.executable, "-c", "import kfp"],
        "compile_both": [*lookalike, "compile"],
        "compile_one": [*lookalike, *one],
    }
    for _ in range(repeats):
        for name, command in commands.items():
            both[name].append(timed(command, ROOT)[0])
    return {name: round(statistics.median(times), 3) for name, times in both.items()}


def runner_times(folder: Path) -> dict[str, float]:
    from pipelines.local.ir import read_pipeline
    from pipelines.local.runner import Run, run_pipeline

    place = ROOT / "tests" / "pipelines" / "branches.py"
    specification = importlib.util.spec_from_file_location("branches", place)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    path = folder / "branches.yaml"
    module.write(path)

    class Quiet:
        def __getattr__(self, name: str):
            return lambda *arguments: None

    taken = []
    for number in range(5):
        with (folder / "lock").open("w") as lock:
            run = Run(folder / str(number), {"answer": "pass", "mark": "!"}, {}, lock.fileno(),
                      lambda _: True)  # fmt: skip
            start = time.perf_counter()
            results = run_pipeline(read_pipeline(path), run, Quiet())
            taken.append((time.perf_counter() - start) / len(results))
    return {"seconds_a_step": round(statistics.median(taken), 3)}


def again_times(workspace: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "pipelines.cli.main", "run"]
    for name in ("catalog", "taxonomy", "votes", "queries"):
        command += [f"--{name}", str(DATA / f"{name}.csv")]
    command += ["--workspace", str(workspace), "--channel", "demo", "--raters", "simulated",
                "--config", str(ROOT / "pipelines" / "demo.yaml"), "--json"]  # fmt: skip
    seconds, out = timed(command, ROOT)
    steps = json.loads(out)["steps"]
    ran = {step["name"]: step["seconds"] for step in steps if not step["cached"]}
    return {
        "seconds": round(seconds, 2),
        "found_finished": [step["name"] for step in steps if step["cached"]],
        "ran": ran,
        "overhead": round(seconds - sum(ran.values()), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workspace", type=Path, help="a finished demo's, such as .lookalike/demo")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as scratch:
        times = compile_times(given.repeats, Path(scratch))
        runner = runner_times(Path(scratch))
    found: dict[str, object] = {
        "compile": {
            **times,
            "ratio": round(times["compile_both"] / times["import_kfp"], 3),
            "target": "<= 1.5",
        },
        "runner": {**runner, "target": "<= 1 s a step"},
    }
    if given.workspace:
        found["again"] = {**again_times(given.workspace), "target": "< 20 s, cached to the gates"}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
