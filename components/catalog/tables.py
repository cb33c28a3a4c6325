"""Tables as they come: CSV, JSON lines or Parquet, read into columns of text with row numbers."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.contracts.errors import InputError
from components.contracts.images import local_path

_CSV_SUFFIXES = (".csv",)
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_PARQUET_SUFFIXES = (".parquet",)
# A cell may hold a long description; what is longer is more likely an unclosed quote.
_LARGEST_CELL = 1 << 20


@dataclass(frozen=True)
class BadRow:
    """A row whose shape alone makes it unusable."""

    row: int
    detail: str


@dataclass
class Table:
    """A table of text.

    Attributes:
        source: The file, for messages.
        columns: Column name to its cells, stripped; all of one length.
        rows: Each record's row in the file; the header of a CSV is row 1, a JSON or Parquet
            record counts from 1.
        bad_rows: Rows set aside while reading.
    """

    source: str
    columns: dict[str, list[str]]
    rows: list[int]
    bad_rows: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        """How many usable rows there are."""
        return len(self.rows)

    @property
    def total(self) -> int:
        """How many rows the file has, bad ones included."""
        return len(self.rows) + len(self.bad_rows)

    def column(self, name: str) -> list[str]:
        """Returns a column's cells; empty text throughout when the table has no such column."""
        return self.columns.get(name) or [""] * len(self.rows)

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yields (row, cells by column name)."""
        names = list(self.columns)
        for row, *cells in zip(self.rows, *self.columns.values(), strict=True):
            yield row, dict(zip(names, cells, strict=True))


def table_path(uri: str, *, what: str) -> Path:
    """Returns the local path of a table.

    Args:
        uri: A local path or `file://` URI.
        what: What the table is, for messages, such as `catalog`.

    Raises:
        InputError: It is another kind of URI, or no file is there.
    """
    scheme = urlsplit(uri).scheme
    if "://" in uri and scheme != "file":
        raise InputError(
            f"{what} {uri}: expected a local path or a file:// URI, received {scheme}://; "
            "copy the table and its images here first"
        )
    path = local_path(uri)
    if not path.is_file():
        raise InputError(f"{what} {path}: expected a table, found no file there")
    return path


def read_table(path: Path, *, required: Sequence[str], what: str) -> Table:
    """Reads a table by the kind its name's ending says.

    Args:
        path: A `.csv`, `.jsonl`, `.ndjson`, `.json` (JSON lines) or `.parquet` file.
        required: Columns that must be there.
        what: What the table is, for messages.

    Raises:
        InputError: The file cannot be read as that kind, is not UTF-8, or a column is missing.
    """
    suffix = path.suffix.lower()
    if suffix in _CSV_SUFFIXES:
        table = _read_csv(path)
    elif suffix in _JSON_SUFFIXES:
        table = _read_json_lines(path)
    elif suffix in _PARQUET_SUFFIXES:
        table = _read_parquet(path)
    else:
        raise InputError(
            f"{what} {path}: expected a .csv, .jsonl or .parquet file, received "
            f"{suffix or 'no ending'}"
        )
    missing = [name for name in required if name not in table.columns]
    if missing and not (suffix in _JSON_SUFFIXES and not table.rows and table.bad_rows):
        raise InputError(
            f"{what} {path}: expected the columns {', '.join(required)}; missing "
            f"{', '.join(missing)}; received {', '.join(table.columns) or 'none'}"
        )
    return table


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, row {row}: expected UTF-8 text, received byte 0x{data[error.start]:02x}; "
            "save the table as UTF-8"
        ) from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(
            f"{path}, row 1: expected every column once, received {twice[0]!r} more than once"
        )


def _read_csv(path: Path) -> Table:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    csv.field_size_limit(_LARGEST_CELL)
    rows: list[int] = []
    bad: list[BadRow] = []
    number = 0
    try:
        header = [name.strip() for name in next(reader, [])]
        number = 1
        _check_header(path, header)
        cells: list[list[str]] = [[] for _ in header]
        width = len(header)
        for number, record in enumerate(reader, start=2):
            if not any(record):
                continue
            if len(record) != width:
                bad.append(BadRow(number, f"expected {width} cells, received {len(record)}"))
                continue
            rows.append(number)
            for column, cell in zip(cells, record, strict=True):
                # Ids of workers, nodes and products repeat by the million: keep each text once.
                column.append(sys.intern(cell.strip()))
    except csv.Error as error:
        raise InputError(
            f"{path}, row {number + 1}: expected CSV, received something else ({error}); "
            "is a quote left open?"
        ) from None
    return Table(str(path), dict(zip(header, cells, strict=True)), rows, bad)


def _cell(value: Any) -> str:
    """Returns a JSON or Parquet value as text; null and NaN are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return sys.intern(value.strip())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    return str(value)


def _columns(records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [_cell(record.get(name)) for record in records] for name in names}


def _read_json_lines(path: Path) -> Table:
    records: list[dict[str, Any]] = []
    rows: list[int] = []
    bad: list[BadRow] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(number, f"expected a JSON object on one line ({error})"))
            continue
        if not isinstance(record, dict):
            bad.append(BadRow(number, f"expected a JSON object, received {type(record).__name__}"))
            continue
        records.append(record)
        rows.append(number)
    return Table(str(path), _columns(records), rows, bad)


def _read_parquet(path: Path) -> Table:
    # Only catalogs in Parquet need Arrow.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        # One file, not a dataset: a path with `key=value` in it must not add columns.
        table = pq.ParquetFile(path).read()
        _check_header(path, table.column_names)
        columns = {
            name: [_cell(value) for value in table.column(name).to_pylist()]
            for name in table.column_names
        }
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected Parquet, received something else ({str(error).splitlines()[0]})"
        ) from None
    return Table(str(path), columns, list(range(1, table.num_rows + 1)))
