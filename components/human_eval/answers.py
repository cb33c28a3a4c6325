"""What the evaluate step recorded: each system's answers to the same queries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.contracts.errors import InputError
from components.contracts.files import read_json_lines

CANDIDATE_FILE = Path("results") / "candidate.jsonl"
INCUMBENT_FILE = Path("results") / "incumbent.jsonl"


@dataclass(frozen=True)
class Result:
    """One result of one query.

    Attributes:
        item_id: The result.
        product_id: Its product.
        image: Absolute path or URI.
        content_hash: SHA-256 of the image's bytes.
    """

    item_id: str
    product_id: str
    image: str
    content_hash: str


@dataclass(frozen=True)
class Answer:
    """One query with its results, best first, one image a product.

    Attributes:
        query_id: The query.
        kind: `shopper` or `item`.
        image: Absolute path or URI.
        content_hash: SHA-256 of the image's bytes.
        taxon_id: What the query shows.
        product_id: What the query shows; empty when unknown.
        results: Best first.
    """

    query_id: str
    kind: str
    image: str
    content_hash: str
    taxon_id: str
    product_id: str
    results: tuple[Result, ...]


def read_answers(path: Path, *, kind: str, results: int) -> dict[str, Answer]:
    """Reads one system's answers.

    Args:
        path: `results/candidate.jsonl` or `results/incumbent.jsonl`.
        kind: Which queries to keep: `shopper`, `item` or `any`.
        results: How many results to keep of each, the best image of each product alone.

    Returns:
        By query id, in file order.

    Raises:
        InputError: The file is missing or a line lacks a field; the message names it.
    """
    answers: dict[str, Answer] = {}
    for number, record in enumerate(read_json_lines(path), start=1):
        try:
            if kind not in ("any", record["kind"]):
                continue
            answer = Answer(
                query_id=record["query_id"],
                kind=record["kind"],
                image=record["image"],
                content_hash=record["content_hash"],
                taxon_id=record["taxon_id"],
                product_id=record.get("product_id", ""),
                results=_first_of_each_product(record["results"], results),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}: expected the field {error}") from None
        if answer.query_id in answers:
            raise InputError(f"{path}, line {number}: query {answer.query_id!r} stands there twice")
        answers[answer.query_id] = answer
    return answers


def _first_of_each_product(records: Iterable[dict[str, str]], most: int) -> tuple[Result, ...]:
    seen: dict[str, Result] = {}
    for record in records:
        result = Result(
            record["item_id"], record["product_id"], record["image"], record["content_hash"]
        )
        seen.setdefault(result.product_id or result.item_id, result)
    return tuple(seen.values())[:most]


def encode_answers(answers: Iterable[Answer]) -> bytes:
    """Returns answers as JSON lines without the images' places: for later comparisons.

    A campaign keeps its candidate's answers, as the candidate may become the anchor of later ones.
    """
    lines = [
        json.dumps(
            {
                "query_id": answer.query_id,
                "content_hash": answer.content_hash,
                "results": [result.item_id for result in answer.results],
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        for answer in sorted(answers, key=lambda answer: answer.query_id)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def decode_answers(data: bytes, *, source: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Reads what `encode_answers` wrote.

    Returns:
        By query id: the content hash of the query's image, and the result item ids, best first.

    Raises:
        InputError: A line is no answer.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            value = json.loads(line)
            found[value["query_id"]] = (value["content_hash"], tuple(map(str, value["results"])))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{source}, line {number}: not an answer ({error})") from None
    return found
