import numpy as np
import pytest

from components.contracts.errors import LookalikeError
from components.index import benchmark, benchmark_page
from components.index.benchmark import EXACT, OURS, Measured, Report, Task
from components.index.peers import PEERS, installed
from components.search.searcher import IndexParameters


def unit(rows, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measured(recall, milliseconds, setting="s"):
    return Measured(setting, recall, milliseconds, milliseconds, milliseconds / 2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    centres = np.repeat(unit(20), 42, axis=0)
    drawn = centres + 0.3 * unit(840, seed=1)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    drawn = drawn[np.random.default_rng(2).permutation(840)]
    vectors, queries = drawn[:800], drawn[800:]
    paths = [folder / f"{name}.npy" for name in ("vectors", "queries", "answers")]
    for path, value in zip(
        paths, (vectors, queries, benchmark.exact_answers(vectors, queries, 10))
    ):
        np.save(path, value)
    return paths


def test_the_time_at_a_recall_by_hand():
    report = Report("x", 1, 1, 1, (measured(0.9, 1.0), measured(0.99, 4.0), measured(0.94, 3.9)))
    # Half way in recall between 1 and 4 ms; what is slower and finds less does not count.
    assert report.at_recall(0.945) == pytest.approx(1.0 * (3.9 / 1.0) ** 1.0, rel=0.1)
    line = Report("x", 1, 1, 1, (measured(0.9, 1.0), measured(0.98, 4.0)))
    assert line.at_recall(0.94) == pytest.approx(2.0)
    assert line.at_recall(0.94, batched=True) == pytest.approx(1.0)
    assert line.at_recall(0.9) == 1.0
    assert line.at_recall(0.5) == 1.0
    assert line.at_recall(0.99) is None


@pytest.mark.parametrize("system", [EXACT, OURS, *PEERS])
def test_every_system_answers_as_exact_search_at_its_widest(system, files):
    if system in PEERS and system not in installed():
        pytest.skip(f"{system} comes with the extra benchmark")
    parameters = IndexParameters(backend="ah", reorder=100) if system == OURS else None
    report = benchmark.measure(Task(system, *files, parameters=parameters, singles=5, threads=1))
    assert report.system == system
    assert max(one.recall for one in report.settings) >= 0.95
    assert all(one.cpu_ms > 0 and one.wall_ms > 0 for one in report.settings)
    if system == EXACT:
        assert [one.recall for one in report.settings] == [1.0]
    elif system != OURS:
        assert len({one.setting for one in report.settings}) == len(report.settings) > 5


def test_a_system_runs_in_a_process_of_its_own(files):
    report = benchmark.run(Task(EXACT, *files, singles=3, label="all of it"))
    assert report.system == "all of it"
    assert report.settings[0].recall == 1.0


def test_what_fails_there_is_told_here(files, tmp_path):
    with pytest.raises(LookalikeError, match=r"benchmark: exact: FileNotFoundError"):
        benchmark.run(Task(EXACT, tmp_path / "nothing.npy", *files[1:]))


def test_memory_that_no_file_backs_is_told():
    before = benchmark.anonymous_memory()
    held = np.ones(30_000_000)
    assert benchmark.anonymous_memory() - before > 200e6
    del held
    assert benchmark.anonymous_memory() - before < 100e6


def reports():
    return [
        Report("exact", 0, 0, 0, (measured(1.0, 10.0, "all scored"),)),
        Report(OURS, 2.0, 3.0, 12.0, (measured(0.97, 0.5, "own"), measured(0.9, 0.25, "other"))),
    ]


def test_the_table_for_a_terminal():
    lines = benchmark_page.text(reports(), k=10).splitlines()
    assert lines[0].split()[:3] == ["system", "recall@10", "0.9"]
    assert lines[1].split() == ["exact", *["100/s"] * 4, "200/s", "-", "-"]
    ours = lines[2].split()
    assert ours[1] == "4,000/s"
    assert ours[3:5] == ["-", "-"]  # 0.98 and 0.99 are not reached.
    assert ours[-2:] == ["2.0", "12"]


def test_the_page_escapes_and_says_what_is_not_installed():
    page = benchmark_page.render(reports(), title="<b>", subject="1 < 2.", k=10, missing=["faiss"])
    assert "&lt;b&gt;" in page
    assert "1 &lt; 2." in page
    assert "Not installed, so not measured: faiss" in page
    assert "chosen: lookalike: own: recall 0.9700, 0.5 ms" in page
