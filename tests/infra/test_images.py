"""The images: what is said about them without an engine, and what they are with one."""

from __future__ import annotations

import ast
import json
import re
import subprocess

import pytest

from components.contracts.errors import LookalikeError
from infra import docker_demo, images
from tests.infra.conftest import INFRA, ROOT, program

LOCKS = INFRA / "locks"
# Packages that must not be in an image, by import name.
WITHOUT = {
    "tensorflow": {"scann", "fastapi"},
    "scann": {"tensorflow", "apache_beam", "fastapi"},
    "ops": {"tensorflow", "apache_beam", "scann", "pyarrow", "fastapi"},
    "serving": {"apache_beam", "tensorflow_transform"},
}


def pinned(name):
    text = (LOCKS / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, flags=re.MULTILINE))


def test_hadolint_finds_nothing():
    done = subprocess.run(
        [program("hadolint"), "--config", str(INFRA / "hadolint.yaml"), str(INFRA / "Dockerfile")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout


def test_the_dockerfile_has_a_target_for_every_image_and_runs_no_shell():
    text = (INFRA / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)", text, flags=re.MULTILINE)
    assert set(images.IMAGES) < set(stages)
    assert stages[-len(images.IMAGES) :] == list(images.IMAGES)
    for instruction in re.findall(r"^(?:RUN|CMD|ENTRYPOINT) (.*)", text, flags=re.MULTILINE):
        assert isinstance(json.loads(instruction), list), instruction
    final = text[text.index("FROM runtime AS tensorflow") :]
    for stage in final.split("FROM runtime AS ")[1:]:
        assert "USER 10001:10001" in stage
        assert "HEALTHCHECK" in stage
    assert "ENTRYPOINT" not in re.sub(r"^#.*", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "name", [*images.IMAGES, "tensorflow-cuda", "build", "executor", "local", "dev"]
)
def test_locks_have_hashes_and_name_no_index(name):
    text = (LOCKS / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())

    assert len(entries) == len(pinned(name)) or name in ("local", "dev", "tensorflow-cuda")
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.parametrize("file", ["Makefile", "infra/Dockerfile"])
def test_what_is_locked_is_installed_without_resolving_anew(file):
    # pip takes `package[extra]` of a dependency for a wish for the newest version, which is not in
    # the lock: an install that worked broke on the day of a release.
    lines = [
        line
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines()
        if "require-hashes" in line
    ]
    assert len(lines) >= 2
    assert all("--no-deps" in line for line in lines), lines


@pytest.mark.parametrize("name", [*images.IMAGES, "executor"])
def test_images_hold_the_versions_that_the_tests_ran_with(name):
    # One lock for several Pythons may hold several versions of a package.
    tested = set(re.findall(r"^([a-z0-9.-]+==\S+)", (LOCKS / "dev.txt").read_text(), re.MULTILINE))
    differing = [
        f"{package}=={version}"
        for package, version in pinned(name).items()
        if f"{package}=={version}" not in tested
    ]

    assert differing == []


def test_every_step_runs_in_an_image_that_is_built():
    assert set(docker_demo.step_images()) <= set(images.IMAGES.values())


def test_without_an_engine_the_build_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")

    code = images.main(["ops"])

    assert code == 1
    assert "no Docker engine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["opps"], "unknown target 'opps'; expected tensorflow, scann, ops, serving"),
        (["--push"], "--push needs --registry"),
        (["--digests", "d.json"], "--digests needs --push"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_built(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        images.main(arguments)

    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_an_ops_image_that_grew_is_refused():
    images.check_size(images.Built("ops", "ops:1", 300.0, 149.0, 1.0))
    images.check_size(images.Built("serving", "serving:1", 3000.0, 2800.0, 1.0))

    with pytest.raises(images.ImageError, match="at most 150 MB on top of its base, it has 151"):
        images.check_size(images.Built("ops", "ops:1", 300.0, 151.0, 1.0))


class TestResults:
    """DockerRunner calls a container that vanished at once a success."""

    @staticmethod
    def _task(results, name, artifacts):
        task = results / "visual-search-1" / name
        task.mkdir(parents=True)
        said = {"artifacts": {"out": {"artifacts": [{"uri": str(uri)} for uri in artifacts]}}}
        (task / "executor_output.json").write_text(json.dumps(said))
        return task

    def test_what_is_there_counts(self, tmp_path):
        made = tmp_path / "made"
        made.touch()
        self._task(tmp_path / "results", "catalog", [made])

        assert docker_demo.check_results(tmp_path / "results", since=0) == ["catalog"]

    def test_a_missing_artifact_is_found(self, tmp_path):
        self._task(tmp_path / "results", "catalog", [tmp_path / "gone"])

        with pytest.raises(LookalikeError, match=r"catalog: its artifact .*gone is not there"):
            docker_demo.check_results(tmp_path / "results", since=0)

    def test_a_container_that_left_nothing_is_found(self, tmp_path):
        task = self._task(tmp_path / "results", "train", [])
        (task / "executor_output.json").unlink()

        with pytest.raises(LookalikeError, match=r"train: the container left no executor_output"):
            docker_demo.check_results(tmp_path / "results", since=0)

    def test_no_run_at_all_is_found(self, tmp_path):
        with pytest.raises(LookalikeError, match="found none"):
            docker_demo.check_results(tmp_path, since=0)


# With an engine, and the images that `make images` built.


def docker(*arguments, check=True):
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def engine():
    try:
        images.require_engine()
        for image in images.IMAGES.values():
            images.size(image)
    except images.ImageError as error:
        pytest.skip(f"{error} (make images)")


def contained(image, *command, check=True):
    """Runs as the manifests do: nobody, nothing to write to but /tmp, no network."""
    return docker(
        *("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", image, *command),
        check=check,
    )


def modules_of(folder):
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / folder).rglob("*.py")
        # Interfaces are read when the pipeline is compiled, which no image does.
        if path.name not in ("component.py", "__main__.py") and "_component" not in path.name
    )


FOLDERS = {
    "tensorflow": ["components/catalog", "components/transform", "components/train",
                   "components/embed"],
    "scann": ["components/index"],
    "ops": ["components/human_eval", "components/promote", "components/outcome"],
    "serving": ["components/evaluate", "serving"],
}  # fmt: skip
COMMON = ["components/contracts", "components/registry"]


def test_every_component_has_its_image_in_the_table_above():
    listed = {folder for folders in FOLDERS.values() for folder in folders}
    there = {
        f"components/{path.parent.name}" for path in (ROOT / "components").glob("*/component.py")
    }

    assert there | {"serving"} == listed


def bodies_of(executors):
    """The imports that the compiled bodies of these executors make."""
    import yaml

    document = yaml.safe_load(docker_demo.VISUAL_SEARCH.read_text())
    imports = set()
    for name in executors:
        source = "\n".join(
            document["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["command"]
        )
        body = ast.parse(source[source.index("def ") :])
        imports |= {n.module for n in ast.walk(body) if isinstance(n, ast.ImportFrom)}
    return imports


@pytest.mark.docker
@pytest.mark.parametrize("target", images.IMAGES)
def test_everything_that_its_steps_import_is_in_the_image(engine, target):
    bodies = bodies_of(docker_demo.step_images().get(images.IMAGES[target], []))
    modules = [m for folder in FOLDERS[target] for m in modules_of(folder)]
    # Parquet is read where tables and vectors are, not on call.
    modules += [m for folder in COMMON for m in modules_of(folder)
                if target != "ops" or not m.endswith("embeddings")]  # fmt: skip
    wanted = sorted({*modules, *bodies})
    code = (
        "import importlib, sys\n"
        "failed = []\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except BaseException as error:\n"
        "        failed.append(f'{name}: {error!r}')\n"
        "print('\\n'.join(failed))\n"
    )

    done = contained(images.IMAGES[target], "python3", "-c", code, *wanted)

    assert done.stdout.strip() == ""


@pytest.mark.docker
@pytest.mark.parametrize("target", images.IMAGES)
def test_the_image_is_nobodys_labelled_and_holds_no_more_than_it_needs(engine, target):
    image = images.IMAGES[target]
    (found,) = json.loads(docker("image", "inspect", image).stdout)
    config = found["Config"]
    labels = {key.removeprefix("org.opencontainers.image."): value
              for key, value in config["Labels"].items()}  # fmt: skip

    assert config["User"] == "10001:10001"
    assert {"title", "licenses", "version", "revision", "created"} <= set(labels)
    assert config["Entrypoint"] in (None, [])
    assert bool(config["Healthcheck"]["Test"] != ["NONE"]) == (target == "serving")
    code = (
        "import importlib.util as u, os, pathlib, json, sys\n"
        "absent = [n for n in sys.argv[1:] if u.find_spec(n) is None]\n"
        "own = [str(p) for p in pathlib.Path('/usr/local/share/ca-certificates').glob('*.crt')]\n"
        "print(json.dumps({'absent': absent, 'certificates': own, 'uid': os.getuid(),\n"
        "    'pip.conf': os.path.exists('/etc/pip.conf'), 'uv': u.find_spec('uv') is not None}))\n"
    )
    inside = json.loads(contained(image, "python3", "-c", code, *sorted(WITHOUT[target])).stdout)
    assert inside == {
        "absent": sorted(WITHOUT[target]),
        "certificates": [],
        "uid": 10001,
        "pip.conf": False,
        "uv": False,
    }


@pytest.mark.docker
def test_the_on_call_image_is_small(engine):
    (history,) = json.loads(docker("image", "inspect", images.IMAGES["ops"]).stdout)
    base = history["Config"]["Labels"]["org.opencontainers.image.base.name"]

    assert images.size(images.IMAGES["ops"]) - images.size(base) <= images.MAX_OPS_MEGABYTES


@pytest.mark.docker
@pytest.mark.parametrize("target", images.IMAGES)
def test_the_bill_of_materials_lists_what_is_installed(engine, target, tmp_path):
    images.export_sbom(images.IMAGES[target], tmp_path / "sbom.json")
    document = json.loads((tmp_path / "sbom.json").read_text())
    listed = {
        part["name"].lower().replace("_", "-"): part["version"] for part in document["components"]
    }

    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "lookalike"
    expected = pinned(target) | pinned("executor")
    assert {name.replace(".", "-") for name in listed} >= {n.replace(".", "-") for n in expected}
    assert listed["kfp"] == expected["kfp"]


@pytest.mark.docker
def test_the_on_call_commands_answer_in_their_image(engine):
    done = contained(images.IMAGES["ops"], "lookalike", "index", "--help")

    assert "rollback" in done.stdout


@pytest.mark.docker
def test_steps_start_with_kfps_executor_alone(engine):
    for image in docker_demo.step_images():
        done = docker(
            *("run", "--rm", "--env", "_KFP_RUNTIME=true", image),
            *("python3", "-m", "kfp.dsl.executor_main", "--help"),
        )
        assert "KFP Component Executor" in done.stdout


@pytest.mark.docker
@pytest.mark.slow
def test_the_compiled_pipeline_runs_in_its_images_to_a_promotion(engine, shop, tmp_path):
    """What a cluster does, on one machine: see infra/docker_demo.py."""
    settings = [
        "train.width=16", "train.input_size=32", "train.batch_size=32", "train.embedding_dim=64",
        "train.learning_rate=0.05", "train.epochs=14", "transform.stored_size=36",
        "evaluate.min_leaf_hit_at_10=0.1", "evaluate.min_product_recall_at_10=0.05",
        "human_eval.tau=0.05", "human_eval.floor=0.005",
        # The shop has six of the taxonomy's departments.
        "train.empty_leaves=allow",
    ]  # fmt: skip
    tmp_path.chmod(0o755)

    code = docker_demo.main(
        [
            *("--catalog", str(shop / "catalog.csv"), "--taxonomy", str(shop / "taxonomy.csv")),
            *("--votes", str(shop / "votes.csv"), "--queries", str(shop / "queries.csv")),
            *("--workspace", str(tmp_path), "--config", str(ROOT / "pipelines" / "demo.yaml")),
            *(part for setting in settings for part in ("--set", setting)),
        ]
    )

    assert code == 0
