"""`lookalike traffic`: what shoppers ask about becomes the catalog's `traffic` column."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from components.contracts.errors import InputError
from components.contracts.files import read_json_lines, write_atomically
from components.registry import query_log
from components.registry.registry import Registry

Rows = list[dict[str, Any]]
_COLUMN = "traffic"


@click.command()
@click.option(
    "--registry", required=True, help="Registry: a folder, file:// or gs://bucket/prefix."
)
@click.option("--channel", required=True, help="Channel whose query log is read.")
@click.option(
    "--catalog",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Catalog table: .csv, .jsonl or .parquet.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The same table with the column traffic, in the same format; may be the catalog itself.",
)
@click.option(
    "--days",
    default=28,
    show_default=True,
    type=click.IntRange(1, 3660),
    help="How many days of the log count, today included.",
)
@click.option(
    "--half-life",
    "half_life",
    type=click.FloatRange(min=0, min_open=True),
    help="Days after which a query counts half; all count alike when not given.",
)
@click.option(
    "--smoothing",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Queries added to every item, so that new ones are measured too.",
)
def traffic(
    registry: str,
    channel: str,
    catalog: Path,
    out: Path | None,
    days: int,
    half_life: float | None,
    smoothing: float,
) -> None:
    """Compute the catalog's traffic weights from the sampled log of what shoppers asked about.

    The servers write that log when they are told to (lookalike serve --query-log-share 0.1). The
    weights have the mean 1; evaluation and rating then count what shoppers see most.

    Example: lookalike traffic --registry gs://shop/lookalike --channel prod --catalog catalog.csv
    --out catalog.csv
    """
    rows, write = _table(catalog)
    item_ids = [str(row["item_id"]) for row in rows]
    store = Registry.open(registry).store
    found = list(query_log.segments(store, channel, days=days))
    if not found:
        raise InputError(
            f"{store.uri}: channel {channel!r} has no query log of the last {days} days; serve "
            "with --query-log-share, such as 0.1"
        )
    queries = query_log.estimated_queries(iter(found), half_life_days=half_life)
    weights = query_log.traffic_weights(item_ids, queries, smoothing=smoothing)
    known = [item_id for item_id in item_ids if item_id in queries]
    click.echo(
        f"{sum(queries.values()):,.0f} queries (estimated from {len(found)} segments of {days} "
        f"days) about {len(queries):,} items; {len(known):,} of the catalog's {len(item_ids):,} "
        "were asked about"
    )
    for item_id in sorted(known, key=lambda one: -weights[one])[:5]:
        click.echo(f"  {weights[item_id]:10.2f}  {item_id}")
    if out is None:
        click.echo("nothing was written: say --out FILE to get the table with the column traffic")
        return
    for row, item_id in zip(rows, item_ids, strict=True):
        row[_COLUMN] = round(weights[item_id], 6)
    write(out, rows)
    click.echo(f"wrote {out}")


def _table(path: Path) -> tuple[Rows, Callable[[Path, Rows], None]]:
    """Returns a table's rows, and what writes them in the same format.

    Raises:
        InputError: The format is another one, or there is no column item_id.
    """
    formats: dict[str, tuple[Callable[[Path], Rows], Callable[[Path, Rows], None]]] = {
        ".csv": (_read_csv, _write_csv),
        ".jsonl": (lambda one: list(read_json_lines(one)), _write_jsonl),
        ".parquet": (_read_parquet, _write_parquet),
    }
    if path.suffix.lower() not in formats:
        raise InputError(f"{path}: expected .csv, .jsonl or .parquet")
    read, write = formats[path.suffix.lower()]
    rows = read(path)
    if not rows or any("item_id" not in row for row in rows):
        raise InputError(f"{path}: expected rows with the column item_id")
    return rows, write


def _read_csv(path: Path) -> Rows:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 ({error})") from None
    return [
        {name: cell for name, cell in row.items() if name is not None}
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]


def _write_csv(path: Path, rows: Rows) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue())


def _write_jsonl(path: Path, rows: Rows) -> None:
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _read_parquet(path: Path) -> Rows:
    import pyarrow.parquet  # noqa: PLC0415 - only for this format

    rows: Rows = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def _write_parquet(path: Path, rows: Rows) -> None:
    import pyarrow  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    write_atomically(path, buffer.getvalue())
