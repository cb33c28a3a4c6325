"""`lookalike delta`: from a table to what is live; embedding and the server stand in for tests."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.contracts.catalog import Item, Reject, read_items, write_items, write_rejects
from components.contracts.embeddings import to_table
from components.contracts.files import sha256_bytes, write_json
from components.contracts.verdict import Check, Verdict
from components.evaluate.config import EvaluateConfig
from components.index.build import build_index
from components.index.config import IndexConfig
from components.registry.policy import Policy
from components.registry.registry import Registry
from pipelines.cli.main import main

DIM = 8
TAXONOMY = "taxon_id,parent_id,name\nroot,,All\nseat,root,Seats\nsofa,seat,Sofas\nlamp,seat,Lamps\n"


def vector_of(content: str) -> np.ndarray:
    """What the stand-in encoder makes of an image: a direction drawn by its content."""
    drawn = np.random.default_rng(int(content[:8], 16)).standard_normal(DIM)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def picture(path: Path, seed: int) -> str:
    buffer = io.BytesIO()
    colour = tuple(int(value) for value in np.random.default_rng(seed).integers(0, 255, 3))
    Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return sha256_bytes(buffer.getvalue())


def write_vectors(directory: Path, items: list[Item]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    hashes = [item.content_hash for item in items]
    vectors = np.stack([vector_of(content) for content in hashes])
    table = to_table([item.item_id for item in items], hashes, vectors)
    pq.write_table(table, directory / "part-0.parquet")


class Shop:
    """A channel with a whole build live that both gates have passed."""

    def __init__(self, root: Path) -> None:
        self.root, self.uri = root, str(root / "registry")
        self.registry = Registry.open(self.uri)
        checked, encoder, embeddings = root / "checked", root / "encoder", root / "embeddings"
        checked.mkdir()
        encoder.mkdir()
        (checked / "taxonomy.csv").write_text(TAXONOMY)
        items = []
        for n in range(60):
            content = picture(checked / f"i{n:02}.png", n)
            leaf = "sofa" if n % 2 else "lamp"
            items.append(Item(f"i{n:02}", str(checked / f"i{n:02}.png"), content, leaf, f"p{n}"))
        write_items(checked / "items.jsonl", items)
        write_json(encoder / "encoder.json", {"digest": "e", "embedding_dim": DIM})
        write_vectors(embeddings / "items", items)
        write_json(embeddings / "summary.json", {"encoder_digest": "e"})
        manifest = build_index(
            checked=checked, encoder=encoder, embeddings=embeddings, mode="scratch", lineage={},
            parameters={}, config=IndexConfig(tuning_queries=20, latency_queries=2),
            bundle=root / "bundle", report=root / "index.html",
        )  # fmt: skip
        self.live = manifest.version
        self.registry.publish_bundle(root / "bundle")
        parameters = asdict(EvaluateConfig(margin=0.1, department_margin=0.2))
        for gate in ("offline", "human"):
            self.judge(gate, self.live, parameters=parameters)
        self.registry.move("prod", to=self.live, who="tests", why="first")
        self.registry.set_policy("prod", Policy(max_inherited_change=0.3))

    def judge(self, gate: str, version: str, **changes: object) -> None:
        verdict = Verdict(
            gate, "pass", version, self.registry.manifest(version)[1], "",
            (Check("looked", "pass", "looked at"),), datetime.now(UTC).isoformat(), "tests",
        )  # fmt: skip
        self.registry.write_verdict(replace(verdict, **changes))

    def table(self, *numbers: int, broken: bool = False) -> Path:
        folder = self.root / "new"
        folder.mkdir(exist_ok=True)
        lines = ["item_id,image,taxon_id,product_id"]
        for n in numbers:
            picture(folder / f"i{n:02}.png", 1000 + n)
            lines.append(f"i{n:02},i{n:02}.png,sofa,p{n}")
        if broken:
            lines.append("i99,nothing.png,sofa,p99")
        (folder / "items.csv").write_text("\n".join(lines) + "\n")
        return folder / "items.csv"


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOKALIKE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("LOOKALIKE_CHANNEL", "prod")
    monkeypatch.setattr("components.evaluate.server.validate", lambda *_: ([], {}))

    def embed(*, checked: Path, output: Path, **_: object) -> None:
        items = read_items(checked / "items.jsonl")
        # One image that no encoder could take.
        lost = [item for item in items if item.item_id == "i77"]
        write_vectors(output / "items", [item for item in items if item not in lost])
        write_rejects(
            output / "dead_letters.jsonl",
            [Reject("item", one.item_id, "items", 0, "bad_vector", "no vector") for one in lost],
        )

    import components.embed.embed

    monkeypatch.setattr(components.embed.embed, "embed_catalog", embed)
    return Shop(tmp_path)


def delta(capsys, *arguments: object) -> tuple[int, dict, str]:
    sys.argv = ["lookalike", "delta", "--reason", "new sofas", "--json", *map(str, arguments)]
    with pytest.raises(SystemExit) as exit_:
        main()
    said = capsys.readouterr()
    return int(exit_.value.code or 0), json.loads(said.out) if said.out else {}, said.err


def test_a_small_delta_goes_live_on_the_judgement_of_its_origin(shop, capsys):
    code, said, words = delta(capsys, "--upsert", shop.table(7, 60), "--delete", "i03")
    assert code == 0, words
    live = shop.registry.channel("prod").live
    assert live == said["version"] != shop.live
    assert (said["upserts"], said["deletes"], said["items"]) == (2, 1, 60)
    assert said["changed_share"] == pytest.approx(3 / 60)
    assert "whose human verdict it inherits" in words
    served = shop.registry.download_bundle(live, shop.root / "served")
    ids = {item.item_id: item for item in read_items(served / "items.jsonl")}
    assert "i60" in ids
    assert "i03" not in ids
    assert Path(ids["i07"].image).parent.name == "new"
    [offline] = shop.registry.verdicts(live)
    assert offline.incumbent == shop.live
    assert offline.parameters["margin"] == 0.1  # What the origin was held to.
    assert (Path(".lookalike/delta") / "report.html").is_file()
    # The next one stands on both.
    code, said, words = delta(capsys, "--delete", "i60")
    assert code == 0, words
    assert said["base"] == live
    assert said["changed_share"] == pytest.approx(2 / 60)


def test_without_a_policy_that_allows_it_people_are_asked(shop, capsys):
    shop.registry.set_policy("prod", Policy(), replace=True)
    code, said, words = delta(capsys, "--delete", "i03")
    assert code == 3
    assert said["promotion"]["outcome"] == "refused"
    assert "max_inherited_change is 0" in words
    assert shop.registry.channel("prod").live == shop.live
    # It is a candidate now: with their verdict it may go.
    assert shop.registry.has(said["version"])
    shop.judge("human", said["version"], incumbent=shop.live)
    sys.argv = ["lookalike", "index", "promote", said["version"], "--reason", "people looked"]
    main_ends_well()
    assert shop.registry.channel("prod").live == said["version"]


def main_ends_well() -> None:
    with pytest.raises(SystemExit) as exit_:
        main()
    assert not exit_.value.code


def test_more_change_than_the_policy_allows_is_refused(shop, capsys):
    shop.registry.set_policy("prod", Policy(max_inherited_change=0.05), replace=True)
    code, _, words = delta(capsys, "--delete", "i03", "--delete", "i04", "--delete", "i05")
    assert code == 3
    assert "of the results are other than those of" in words
    assert shop.registry.channel("prod").live == shop.live


def test_past_the_limit_a_rebuild_is_asked_for_and_nothing_is_published(shop, capsys):
    before = shop.registry.versions()
    numbers = [part for n in range(7) for part in ("--delete", f"i{n:02}")]
    code, _, words = delta(capsys, *numbers)
    assert code == 1
    assert "run the whole pipeline" in words
    assert shop.registry.versions() == before


def test_what_cannot_be_used_is_set_aside_and_named(shop, capsys):
    table = shop.table(60, 61, 77, broken=True)
    code, said, words = delta(
        capsys, "--upsert", table, "--max-reject-share", "0.5", "--no-promote"
    )
    assert code == 0, words
    assert [one["id"] for one in said["rejects"]] == ["i99", "i77"]
    assert said["upserts"] == 2
    assert said["promotion"] is None
    assert "set aside: i77: no vector" in words
    assert shop.registry.channel("prod").live == shop.live
    table.write_text(table.read_text() + "i98,nothing.png,sofa,p98\n")
    before = shop.registry.versions()
    code, _, words = delta(capsys, "--upsert", table)
    assert code == 1
    assert "2 of 5 items were set aside" in words
    assert shop.registry.versions() == before


def test_ids_may_stand_in_a_file(shop, capsys):
    (shop.root / "gone.txt").write_text("i03\n\ni04\n")
    code, said, _ = delta(capsys, "--delete-file", shop.root / "gone.txt", "--no-promote")
    assert (code, said["deletes"]) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Give --upsert, --delete or --delete-file"),
        (["--delete", "i99"], 2, "these are not: i99"),
        (["--delete", "i01", "--channel", "empty"], 1, "nothing is live"),
        (["--delete-file", "nowhere.txt"], 2, "nowhere.txt"),
        (["--delete", "i01", "--max-changed-share", "0"], 2, "max-changed-share"),
    ],
)
def test_wrong_usage_changes_nothing(shop, capsys, arguments, code, words):
    before = shop.registry.versions()
    ended, _, said = delta(capsys, *arguments)
    assert ended == code
    assert words in said
    assert shop.registry.versions() == before


def test_an_origin_that_is_gone_asks_for_a_rebuild(shop, capsys):
    assert delta(capsys, "--delete", "i03")[0] == 0
    for info in list(shop.registry.store.list(f"bundles/{shop.live}/")):
        shop.registry.store.delete(info.key)
    code, _, words = delta(capsys, "--delete", "i04")
    assert code == 1
    assert "is no longer in the registry" in words


def test_an_origin_that_was_never_evaluated_sets_no_thresholds(shop, capsys):
    for info in list(shop.registry.store.list(f"verdicts/{shop.live}/")):
        if "/offline-" in info.key:
            shop.registry.store.delete(info.key)
    before = shop.registry.versions()
    code, _, words = delta(capsys, "--delete", "i03")
    assert code == 2
    assert shop.registry.versions() == before
    assert "expected an offline verdict with the thresholds" in words
