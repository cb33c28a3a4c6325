"""The real server over HTTP: simulated raters finish a campaign while it is killed."""

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from components.human_eval.aggregate import screen
from components.human_eval.rating_log import RatingLog, gather
from components.human_eval.simulated import look, panel
from serving.rating.client import Rater, rate_until_done, simulated_grades

from .conftest import CHANNEL, KEYS, task_of, token_for, write_campaign

PANEL = panel("always_similar=1,adversarial=1,gold_savvy=1,sloppy=1,careful=5")

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def server(tmp_path):
    made = write_campaign(str(tmp_path / "registry"), queries=10)
    key_file = tmp_path / "rating.key"
    key_file.write_bytes(KEYS.keys[0])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "log").open("ab")
    running = []

    def start():
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli.main", "rate", "--registry", made.registry,
                 "--channel", CHANNEL, "--port", str(port), "--key-file", str(key_file)],
                stdout=log, stderr=log,
            )
        )  # fmt: skip
        return running[-1]

    yield made, port, start
    for process in running:
        process.kill()
        process.wait()
    log.close()


def test_raters_over_http_lose_and_double_nothing_when_the_server_is_killed(server):
    made, port, start = server
    process = start()
    golds = {pair.task_id: pair.gold for pair in made.plan.golds}
    said: dict[str, set[str]] = {}
    problems: list[str] = []

    def work(number: int) -> None:
        name = PANEL[number]
        browser = Rater(f"http://127.0.0.1:{port}/join?key={token_for(name)}")

        def true(task: str) -> int:
            return golds.get(task, int(task, 16) % 4)

        grade = simulated_grades(name, true, known_golds=golds, seed=1)
        try:
            said[name] = set()
            rate_until_done(
                browser, grade, most=60, think=lambda: 0.02,
                acknowledged=lambda form: said[name].add(task_of(form)), patience_s=60,
            )  # fmt: skip
        except Exception as error:
            problems.append(repr(error))
        finally:
            browser.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(PANEL))]
    # Who knows the golds goes first: the others could rate every live pair during the practice.
    threads[2].start()
    until = time.monotonic() + 60
    while len(said.get(PANEL[2], ())) < 36 and threads[2].is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    for thread in threads:
        if thread is not threads[2]:
            thread.start()
    for _ in range(2):
        before = sum(map(len, said.values()))
        while sum(map(len, said.values())) < before + 90 and any(t.is_alive() for t in threads):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start()
    for thread in threads:
        thread.join()

    assert problems == []
    log = RatingLog(LocalStoreOf(made), made.prefix)
    tasks = [pair.task_id for pair in made.plan.pairs]
    found = gather(log, campaign=made.campaign, tasks=tasks, allow_simulated=True)
    kept = [(rating.rater_id, rating.task_id) for rating in found.valid]
    assert len(kept) == len(set(kept))
    assert {(name, task) for name, mine in said.items() for task in mine} <= set(kept)
    assert all(entry.record.simulated for entry in log.read())
    assert found.counts() == {}
    # Over HTTP they err as they do by files.
    for rating in found.valid:
        true = golds.get(rating.task_id, int(rating.task_id, 16) % 4)
        expected = look(rating.rater_id, rating.task_id, true, known_golds=golds, seed=1)
        assert rating.grade == expected.grade
    # Who cannot tell similar from not failed the practice twice and never saw a live pair.
    for name in PANEL[:2]:
        mine = [task for rater, task in kept if rater == name]
        assert len(mine) == 60
        assert set(mine) <= set(golds)
    # Who knows the golds passes the practice and rates: that is what peers are for.
    assert any(rater == PANEL[2] and task not in golds for rater, task in kept)
    state = screen(made.plan, found.valid, made.config)
    assert {r.standing for r in state.reports if "careful" in r.rater_id} == {"counted"}


def LocalStoreOf(made):
    from components.registry.object_store import open_store

    return open_store(made.registry)


def test_the_commands_say_what_is_missing(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli.main", "rate", *arguments],
            capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
        )  # fmt: skip

    none = run("link", "--channel", "demo", "--rater", "ann")
    assert none.returncode == 2
    assert "lookalike rate key --out" in none.stderr
    made = run("key", "--out", "rating.key")
    assert made.returncode == 0
    assert (tmp_path / "rating.key").stat().st_mode & 0o777 == 0o600
    assert run("key", "--out", "rating.key").returncode == 2
    links = run("link", "--channel", "demo", "--rater", "ann", "--rater", "bob",
                "--expires", "1h", "--key-file", "rating.key")  # fmt: skip
    assert [line.split("\t")[0] for line in links.stdout.splitlines()] == ["ann", "bob"]
    secret = (tmp_path / "rating.key").read_text().strip()
    assert secret not in links.stdout + made.stdout
    assert run("--channel", "demo").returncode == 2
    assert "--registry" in run("--channel", "demo").stderr
    assert run("link", "--channel", "demo").returncode == 2
