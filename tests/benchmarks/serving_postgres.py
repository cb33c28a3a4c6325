"""PostgreSQL with pgvector's HNSW on the same vectors, asked by pgbench, its own load generator."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from serving_bundle import item_id

_EF_SEARCH = (20, 40, 60, 80, 120, 160, 240, 320, 400)
_QUERY = """
SELECT id, product_id, title, 1 - (embedding <=> (SELECT embedding FROM items WHERE id = {id}))
FROM items ORDER BY embedding <=> (SELECT embedding FROM items WHERE id = {id}) LIMIT {k};
"""


@dataclass(frozen=True)
class Peer:
    """How PostgreSQL did.

    Attributes:
        build_seconds: What loading and indexing took.
        ef_search: The smallest of pgvector's settings that reaches the recall.
        recall: Recall@10 with it.
        rate: Queries per second.
        p99: 99th percentile of a query's time, in seconds.
    """

    build_seconds: float
    ef_search: int
    recall: float
    rate: float
    p99: float


class Database:
    """A database with the items."""

    def __init__(self, folder: Path, vectors: npt.NDArray[np.float32]) -> None:
        """Starts PostgreSQL, loads the items and builds the index."""
        import pgserver
        from pgserver._commands import POSTGRES_BIN_PATH

        self._bin = POSTGRES_BIN_PATH
        self._folder = folder
        self._count = len(vectors)
        self._server = pgserver.get_server(folder / "pg", cleanup_mode="delete")
        self._uri = self._server.get_uri()
        started = time.perf_counter()
        self._sql("CREATE EXTENSION vector")
        self._sql(
            "CREATE TABLE items (id text PRIMARY KEY, product_id text, title text, "
            f"embedding vector({vectors.shape[1]}))"
        )
        with subprocess.Popen(
            [self._bin / "psql", self._uri, "-qc", "COPY items FROM STDIN"],
            stdin=subprocess.PIPE,
            text=True,
        ) as copy:
            assert copy.stdin
            for number, row in enumerate(vectors):
                numbers = ",".join(f"{value:.7g}" for value in row)
                copy.stdin.write(
                    f"{item_id(number)}\tp{number // 2}\ta thing of many words\t[{numbers}]\n"
                )
        self._sql(
            "SET maintenance_work_mem = '2GB'; "
            "CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops)"
        )
        self._sql("VACUUM ANALYZE items")
        self.build_seconds = time.perf_counter() - started

    def answer(self, number: int, k: int, ef_search: int) -> list[str]:
        """Returns the ids nearest to an item, itself among them."""
        query = _QUERY.format(id=f"'{item_id(number)}'", k=k)
        output = self._sql(f"SET hnsw.ef_search = {ef_search}; {query}")
        return [line.split("|", 1)[0] for line in output.splitlines() if "|" in line]

    def ef_search_for(
        self, recall: float, rows: list[int], best: list[set[str]], k: int
    ) -> tuple[int, float]:
        """Returns the smallest setting that reaches the recall on these items, and its recall."""
        reached = 0.0
        for ef_search in _EF_SEARCH:
            found = [set(self.answer(row, k, ef_search)) for row in rows]
            shares = [len(a & b) / len(b) for a, b in zip(found, best, strict=True)]
            reached = float(np.mean(shares))
            if reached >= recall:
                return ef_search, reached
        return _EF_SEARCH[-1], reached

    def bench(
        self, *, ef_search: int, k: int, connections: int, seconds: float
    ) -> tuple[float, float]:
        """Returns queries per second, and the 99th percentile of their time in seconds."""
        script = self._folder / "query.sql"
        query = _QUERY.format(id="'i' || lpad(:number::text, 6, '0')", k=k).replace("\n", " ")
        script.write_text(f"\\set number random(0, {self._count - 1})\n{query.strip()}\n")
        prefix = self._folder / "pgbench"
        script.chmod(0o644)
        result = subprocess.run(
            [
                *(self._bin / "pgbench", "-n", "-M", "prepared", "-f", script, "-j", "1"),
                *("-c", str(connections), "-T", str(max(1, round(seconds)))),
                *("-l", f"--log-prefix={prefix}", self._uri),
            ],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PGOPTIONS": f"-c hnsw.ef_search={ef_search}"},
        )
        found = re.search(r"tps = ([0-9.]+)", result.stdout)
        assert found, result.stdout
        times = [
            int(line.split()[2])
            for path in self._folder.glob("pgbench.*")
            for line in path.read_text().splitlines()
        ]
        for path in self._folder.glob("pgbench.*"):
            path.unlink()
        return float(found[1]), float(np.percentile(times, 99)) / 1e6

    def close(self) -> None:
        """Stops PostgreSQL and removes its files."""
        self._server.cleanup()

    def _sql(self, text: str) -> str:
        return subprocess.run(
            [self._bin / "psql", self._uri, "-qAtc", text],
            capture_output=True,
            text=True,
            check=True,
        ).stdout


@contextmanager
def database(folder: Path, vectors: npt.NDArray[np.float32]) -> Iterator[Database]:
    """Yields a database with the items."""
    made = Database(folder, vectors)
    try:
        yield made
    finally:
        made.close()
