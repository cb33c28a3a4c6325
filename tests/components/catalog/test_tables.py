import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.catalog.tables import read_table, table_path
from components.contracts.errors import InputError


def read(path, *required):
    return read_table(path, required=required, what="catalog")


def test_csv_cells_are_stripped_and_rows_counted_as_an_editor_counts_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(
        b'\xef\xbb\xbfa,b\r\n 1 , "x, y"\r\n\r\n3,\xc3\xa4\r\n4\r\n'.replace(b' "', b'"')
    )
    table = read(path, "a", "b")
    assert table.columns == {"a": ["1", "3"], "b": ["x, y", "ä"]}
    assert table.rows == [2, 4]
    assert [(bad.row, bad.detail) for bad in table.bad_rows] == [
        (5, "expected 2 cells, received 1")
    ]
    assert table.total == 3
    assert list(table.records()) == [(2, {"a": "1", "b": "x, y"}), (4, {"a": "3", "b": "ä"})]
    assert table.column("none") == ["", ""]


def test_a_table_without_rows_has_its_columns(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n")
    assert len(read(tmp_path / "t.csv", "a", "b")) == 0


@pytest.mark.parametrize("text", ["", "b\n1\n"])
def test_missing_columns(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="expected the columns a; missing a; received"):
        read(tmp_path / "t.csv", "a")


def test_a_column_twice_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    with pytest.raises(InputError, match="row 1: expected every column once, received 'a'"):
        read(tmp_path / "t.csv", "a")


def test_an_open_quote_names_the_row(tmp_path):
    (tmp_path / "t.csv").write_text('a\n1\n"2\n3\n')
    with pytest.raises(InputError, match=r"t\.csv, row 3: .*is a quote left open"):
        read(tmp_path / "t.csv", "a")


def test_json_lines(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 7, "b": null}\n\n{"a": true, "c": ["x"]}\n[1]\n{"a"\n')
    table = read(path, "a")
    assert table.columns == {"a": ["7", "true"], "b": ["", ""], "c": ["", '["x"]']}
    assert table.rows == [1, 3]
    assert [bad.row for bad in table.bad_rows] == [4, 5]


def test_parquet_values_become_text(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1, None], "b": [0.5, float("nan")], "c": [" x ", None]}), path)
    table = read(path, "a")
    assert table.columns == {"a": ["1", ""], "b": ["0.5", ""], "c": ["x", ""]}
    assert table.rows == [1, 2]


def test_a_broken_parquet_file_is_an_input_error(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="expected Parquet"):
        read(tmp_path / "t.parquet", "a")


def test_an_unknown_ending_is_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"expected a \.csv, \.jsonl or \.parquet file, received \.xlsx"
    ):
        read(tmp_path / "t.xlsx", "a")


def test_paths_and_uris(tmp_path):
    path = tmp_path / "a b.csv"
    path.write_text("a\n")
    assert table_path(str(path), what="catalog") == path
    assert table_path(path.as_uri(), what="catalog") == path
    with pytest.raises(InputError, match="received gs://"):
        table_path("gs://bucket/a.csv", what="catalog")
    with pytest.raises(InputError, match="found no file"):
        table_path(str(tmp_path), what="catalog")
