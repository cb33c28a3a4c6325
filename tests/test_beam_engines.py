"""transform and embed on engines outside this process, by Beam's portable job API.

Prism is the portable runner that comes with Beam, one program (`make .tools/prism`); Flink is a
local cluster inside Beam's job server (`make test-flink` fetches it). What a worker can rely on is
the same in both: nothing but the serialised pipeline and the folders that it sees.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts import catalog
from components.contracts.catalog import Item
from components.contracts.errors import LookalikeError
from components.contracts.files import read_json_lines, sha256_file
from components.contracts.web_addresses import PRIVATE_NETWORKS

ROOT = Path(__file__).parents[1]
PRISM = Path(os.environ.get("LOOKALIKE_PRISM", ROOT / ".tools/prism"))
FLINK_JAR = os.environ.get("LOOKALIKE_FLINK_JOB_SERVER_JAR", "")
ENGINES = [
    pytest.param("prism", marks=pytest.mark.portable),
    pytest.param("flink", marks=pytest.mark.flink),
]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Workers that wait to be asked: the process, and its address."""
    port, ready = free_port(), tmp_path / "ready"
    environment = {**os.environ, PRIVATE_NETWORKS: "127.0.0.0/8", "PYTHONPATH": str(ROOT)}
    with (tmp_path / "pool.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/beam_worker_pool.py"), str(port), str(ready)],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        until(ready.exists, process)
        yield process, f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def until(done, process, seconds=300):
    end = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, "the workers' process ended"
        assert time.monotonic() < end
        time.sleep(0.1)


def options(engine: str, address: str) -> tuple[str, ...]:
    workers = ("--environment_type=EXTERNAL", f"--environment_config={address}")
    if engine == "prism":
        assert PRISM.is_file(), f"{PRISM}: expected Beam's prism; make it: make .tools/prism"
        return ("--runner=PrismRunner", f"--prism_location={PRISM}", *workers)
    assert Path(FLINK_JAR).is_file(), (
        f"LOOKALIKE_FLINK_JOB_SERVER_JAR={FLINK_JAR!r}: expected the job server's jar; "
        "make test-flink downloads it"
    )
    return (
        "--runner=FlinkRunner", f"--flink_job_server_jar={FLINK_JAR}", "--flink_master=[local]",
        "--flink_version=1.20", "--parallelism=2", *workers,
    )  # fmt: skip


def small_catalog(folder: Path, source: Path, count: int = 48) -> Path:
    """A checked catalog of images that ship with the repository, and one broken one."""
    images = sorted((source / "images").glob("*.jpg"))[:count]
    checked = folder / "checked"
    checked.mkdir(parents=True)
    broken = folder / "broken.jpg"
    broken.write_bytes(images[0].read_bytes()[:500])
    items = [
        Item(path.stem, str(path), sha256_file(path), "chair", f"p{number // 3}")
        for number, path in enumerate([*images, broken])
    ]
    catalog.write_items(checked / catalog.ITEMS_FILE, items)
    (checked / catalog.TAXONOMY_FILE).write_text(
        "taxon_id,parent_id,name\nroot,,All\nseating,root,Seating\nchair,seating,Chairs\n"
        "lamp,root,Lamps\n"
    )
    return checked


def transformed(checked: Path, output: Path, beam_options: tuple[str, ...] = ()) -> Path:
    from components.transform.config import TransformConfig
    from components.transform.transform import transform_examples

    transform_examples(
        checked=checked,
        mode="scratch",
        config=TransformConfig(
            unseen_fraction=0.25, max_reject_share=0.5, stored_size=32, examples_per_shard=8,
            batch_size=8, beam_options=beam_options,
        ),
        examples=output / "examples",
        transform_graph=output / "graph",
        report=output / "report.html",
    )  # fmt: skip
    return output / "examples"


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def save_encoder(directory: Path) -> Path:
    import tensorflow as tf

    from components.contracts.files import write_json

    class MeanColour(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def encode(self, image_bytes):
            def one(data):
                pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[0, 1])

            colours = tf.map_fn(one, image_bytes, fn_output_signature=tf.float32)
            return tf.math.l2_normalize(tf.ensure_shape(colours, [None, 3]), axis=-1)

    module = MeanColour()
    tf.saved_model.save(
        module, str(directory / "saved_model"), signatures={"image_bytes": module.encode}
    )
    write_json(directory / "encoder.json", {"digest": "mean", "embedding_dim": 3})
    return directory


def embedded(checked: Path, encoder: Path, output: Path, beam_options: tuple[str, ...] = ()):
    from components.contracts import embeddings
    from components.embed.config import EmbedConfig
    from components.embed.embed import embed_catalog

    embed_catalog(
        checked=checked,
        encoder=encoder,
        incumbent_bundle=None,
        config=EmbedConfig(batch_size=8, max_reject_share=0.5, beam_options=beam_options),
        output=output,
    )
    found = embeddings.read(output / "items")
    return {
        key: (digest, vector.tobytes())
        for key, digest, vector in zip(found.ids, found.content_hashes, found.vectors, strict=True)
    }, list(read_json_lines(output / "dead_letters.jsonl"))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gives_what_the_local_runner_gives(engine, pool, tmp_path, dev_mini):
    _, address = pool
    checked = small_catalog(tmp_path, dev_mini)
    there = transformed(checked, tmp_path / "there", options(engine, address))
    here = transformed(checked, tmp_path / "here")
    assert contents(there) == contents(here)
    assert len(list((here / "train").glob("*.tfrecord"))) >= 4
    assert [reject.key for reject in catalog.read_rejects(here / "dead_letters.jsonl")] == [
        "broken"
    ]

    encoder = save_encoder(tmp_path / "encoder")
    vectors, dead = embedded(checked, encoder, tmp_path / "v1", options(engine, address))
    assert (vectors, dead) == embedded(checked, encoder, tmp_path / "v2")
    assert len(vectors) == 48
    assert [reject["key"] for reject in dead] == ["broken"]


class Trap(http.server.BaseHTTPRequestHandler):
    """A server of images whose answer is the death of whoever asks."""

    def do_GET(self):
        self.server.spring()
        self.server.over.wait(600)

    def log_message(self, *_):
        pass


@pytest.fixture
def trapped(tmp_path, dev_mini, monkeypatch):
    """A checked catalog with one image whose reading kills the workers, and what kills them."""
    monkeypatch.setenv(PRIVATE_NETWORKS, "127.0.0.0/8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trap)
    server.daemon_threads = True
    server.over = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    checked = small_catalog(tmp_path, dev_mini)
    items = catalog.read_items(checked / catalog.ITEMS_FILE)
    address = f"http://127.0.0.1:{server.server_port}/image.jpg"
    items.append(Item("trap", address, "0" * 64, "chair", "p1"))
    catalog.write_items(checked / catalog.ITEMS_FILE, items)
    yield checked, server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def nothing_is_taken_for_whole(output: Path) -> None:
    assert not (output / "examples/statistics.json").exists()
    # Shards have their names only when they are whole.
    for path in (output / "examples").rglob("*.tfrecord"):
        assert is_whole(path), path


def is_whole(path: Path) -> bool:
    import tensorflow as tf

    return sum(1 for _ in tf.data.TFRecordDataset(str(path))) > 0


# Beam's own thread, which read from the lost worker, ends with the error of its connection.
LOST = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@LOST
@pytest.mark.portable
@pytest.mark.parametrize("killed", [1, 2])
def test_a_worker_of_the_local_runner_killed_in_mid_bundle_stops_with_a_reason(
    killed, trapped, tmp_path
):
    checked, server = trapped
    server.spring = lambda: [os.kill(pid, signal.SIGKILL) for pid in local_workers()[:killed]]
    with pytest.raises(LookalikeError, match=r"transform: Apache Beam gave the job up .* run the"):
        transformed(
            checked,
            tmp_path / "out",
            ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
        )
    nothing_is_taken_for_whole(tmp_path / "out")


def local_workers() -> list[int]:
    """Processes of Beam's workers below this one, without the shells that Beam starts them by."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        words = command.split(b"\0")
        if b"apache_beam.runners.worker.sdk_worker_main" in words and is_below_me(process):
            found.append(int(process.name))
    return found


def is_below_me(process: Path) -> bool:
    while process.name not in ("0", "1"):
        if process.name == str(os.getpid()):
            return True
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            return False
        process = Path("/proc") / parent
    return False


@LOST
@pytest.mark.parametrize("engine", ENGINES)
def test_workers_killed_in_mid_bundle_stop_the_step_with_a_reason(engine, trapped, pool, tmp_path):
    checked, server = trapped
    process, address = pool
    server.spring = process.kill
    with pytest.raises(LookalikeError, match="transform: Apache Beam gave the job up"):
        transformed(checked, tmp_path / "out", options(engine, address))
    nothing_is_taken_for_whole(tmp_path / "out")


@pytest.mark.portable
def test_dataflow_builds_and_checks_the_graph_without_a_network(tmp_path, dev_mini, monkeypatch):
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    graphs = []
    run = DataflowRunner.run_pipeline

    def kept(self, *given, **named):
        result = run(self, *given, **named)
        graphs.append(result.job.proto_pipeline)
        return result

    def offline(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(DataflowRunner, "run_pipeline", kept)
    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    checked = small_catalog(tmp_path, dev_mini)
    encoder = save_encoder(tmp_path / "encoder")
    dataflow = (
        "--runner=DataflowRunner", "--project=shop-123456", "--region=europe-west1",
        "--temp_location=gs://shop-temp/beam", "--job_name=lookalike", "--dry_run=true",
        "--sdk_container_image=registry.example/lookalike:1", "--max_num_workers=20",
    )  # fmt: skip
    for step, go in (
        ("transform", lambda: transformed(checked, tmp_path / "out", dataflow)),
        ("embed", lambda: embedded(checked, encoder, tmp_path / "vectors", dataflow)),
    ):
        with pytest.raises(LookalikeError, match=f"{step}: --dry_run: .* for DataflowRunner"):
            go()
    assert len(graphs) == 2
    for graph in graphs:
        images = {
            environment.payload.decode("latin-1").strip()
            for environment in graph.components.environments.values()
        }
        assert any("registry.example/lookalike:1" in image for image in images)
        assert any(
            one.spec.urn == "beam:transform:impulse:v1"
            for one in graph.components.transforms.values()
        )
    names = {one.unique_name for graph in graphs for one in graph.components.transforms.values()}
    assert any("Prepare" in name for name in names)
    assert any("Encode" in name for name in names)
