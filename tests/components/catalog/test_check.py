import hashlib
import http.server
import json
import shutil
import struct
import threading
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contracts import catalog as contract
from components.contracts.errors import InputError, LookalikeError
from components.contracts.taxonomy import Taxonomy


def items_of(shop):
    return {item.item_id: item for item in contract.read_items(shop.output / contract.ITEMS_FILE)}


def rejects_of(shop):
    return contract.read_rejects(shop.output / contract.REJECTS_FILE)


def summary_of(shop):
    return json.loads((shop.output / contract.SUMMARY_FILE).read_text())


def test_a_good_catalog_is_taken_whole(shop):
    shop.items[3][5] = "2.5"
    counts = shop.check()
    assert counts == {
        "items": 10,
        "queries": 10,
        "votes": 0,
        "rejects": 0,
        "labelled_by_crowd": 0,
        "suspected_errors": 0,
    }
    item = items_of(shop)["i3"]
    data = (shop.folder / "images/i3.png").read_bytes()
    assert item == contract.Item(
        item_id="i3",
        image=str((shop.folder / "images/i3.png").resolve()),
        content_hash=hashlib.sha256(data).hexdigest(),
        taxon_id="table-lamp",
        product_id="p3",
        title="Ä",
        traffic=2.5,
        label_source="curated",
        label_confidence=1.0,
        attributes={"colour": "red"},
    )
    query = contract.read_queries(shop.output / contract.QUERIES_FILE)[3]
    assert (query.query_id, query.product_id, query.taxon_id) == ("q3", "p3", "table-lamp")
    assert Taxonomy.read(shop.output / contract.TAXONOMY_FILE).class_id("stool") == 5
    summary = summary_of(shop)
    assert summary["tables"]["items"] == {"rows": 10, "rejects": {}}
    catalog_file = shop.folder / "catalog.csv"
    assert summary["sources"]["catalog"] == {
        "path": str(catalog_file),
        "sha256": hashlib.sha256(catalog_file.read_bytes()).hexdigest(),
    }


def test_it_is_the_same_on_every_run(shop):
    shop.votes = [[f"i{n}", f"w{w}", "chair"] for n in range(10) for w in range(3)]
    for item in shop.items[:5]:
        item[2] = ""
    shop.check()
    first = {path.name: path.read_bytes() for path in shop.output.iterdir()}
    page = shop.report.read_bytes()
    shop.check()
    assert {path.name: path.read_bytes() for path in shop.output.iterdir()} == first
    assert shop.report.read_bytes() == page


def test_only_the_needed_columns(shop):
    shop.write()
    lines = ["item_id,image", *(f"i{n},images/i{n}.png" for n in range(10))]
    (shop.folder / "catalog.csv").write_text("\n".join(lines))
    shop.queries = []
    shop.check(write=False)
    item = items_of(shop)["i4"]
    assert (item.product_id, item.taxon_id, item.traffic) == ("i4", "root", 1.0)
    assert (item.label_source, item.label_confidence) == ("none", 0.0)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_kinds_of_tables_give_the_same_items(shop, kind):
    shop.items[3][5] = "2.5"
    shop.check()
    expected = (shop.output / contract.ITEMS_FILE).read_bytes()
    columns = ("item_id", "image", "taxon_id", "product_id", "title", "traffic", "colour")
    records = [dict(zip(columns, row, strict=True)) for row in shop.items]
    for record in records:
        record["traffic"] = float(record["traffic"]) if record["traffic"] else None
    if kind == "jsonl":
        text = "\n".join(json.dumps(record) for record in records)
        (shop.folder / "catalog.jsonl").write_text(text)
    else:
        pq.write_table(pa.Table.from_pylist(records), shop.folder / "catalog.parquet")
    shop.check(catalog=f"catalog.{kind}")
    assert (shop.output / contract.ITEMS_FILE).read_bytes() == expected


def spoil_image(name, data):
    def spoil(shop):
        (shop.folder / name).write_bytes(data)

    return spoil


def set_cell(row, column, value):
    def spoil(shop):
        shop.items[row][column] = value

    return spoil


def bomb():
    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))


@pytest.mark.parametrize(
    ("spoil", "reason", "said"),
    [
        (lambda shop: (shop.folder / "images/i3.png").unlink(), "missing_image", "found no file"),
        (spoil_image("images/i3.png", b""), "empty_image", "empty file"),
        (spoil_image("images/i3.png", b"<html>"), "not_an_image", "expected JPEG"),
        (spoil_image("images/i3.png", b"\x89PNG\r\n\x1a\n\0\0"), "not_an_image", "expected JPEG"),
        (spoil_image("images/i3.png", bomb()), "too_many_pixels", "received 20000 x 20000"),
        (set_cell(3, 1, "../../etc/passwd"), "outside_catalog", "this path leaves it"),
        (set_cell(3, 1, "/etc/passwd"), "outside_catalog", "this path leaves it"),
        (set_cell(3, 1, "file:///etc/passwd"), "outside_catalog", "this path leaves it"),
        (set_cell(3, 1, "ftp://example.com/a.png"), "unsupported_uri", "expected a path"),
        (set_cell(3, 1, "http://169.254.169.254/a.png"), "refused_address", "public address"),
        (set_cell(3, 1, "https://u:p@shop.example/a"), "refused_address", "https://shop.example/a"),
        (set_cell(3, 1, "http://[/a.png"), "refused_address", "expected an http(s) address"),
        (set_cell(3, 1, "images"), "unreadable_image", "found another"),
        (set_cell(3, 1, ""), "missing_image", "received nothing"),
        (set_cell(3, 0, ""), "empty_id", "expected item_id"),
        (set_cell(3, 0, "i2"), "duplicate_id", "stands already in row 4"),
        (set_cell(3, 0, "x" * 201), "bad_id", "at most 200"),
        (set_cell(3, 0, "a\x07b"), "bad_id", "printable"),
        (set_cell(3, 2, "table-lmap"), "unknown_taxon", "received 'table-lmap'"),
        (set_cell(3, 5, "-1"), "bad_traffic", "received '-1'"),
        (set_cell(3, 5, "nan"), "bad_traffic", "received 'nan'"),
        (set_cell(3, 5, "inf"), "bad_traffic", "received 'inf'"),
        (set_cell(3, 5, "many"), "bad_traffic", "received 'many'"),
        (lambda shop: shop.items[3].append("surplus"), "bad_row", "expected 7 cells, received 8"),
    ],
)
def test_one_bad_item_is_set_aside_and_stops_nothing(shop, spoil, reason, said):
    shop.queries = []
    spoil(shop)
    counts = shop.check()
    assert counts["items"] == 9
    (reject,) = rejects_of(shop)
    assert (reject.kind, reject.reason, reject.row) == ("item", reason, 5)
    assert reject.source == str(shop.folder / "catalog.csv")
    assert said in reject.detail
    assert summary_of(shop)["tables"]["items"]["rejects"] == {reason: 1}
    assert reason in shop.report.read_text()


def test_an_image_on_the_web_is_an_item_and_its_signature_stays_out_of_rejects(shop, monkeypatch):
    picture = (shop.folder / "images/i3.png").read_bytes()

    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path.startswith("/i3.png")
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(picture if found else b"")

        def log_message(self, *_):
            pass

    monkeypatch.setenv("LOOKALIKE_PRIVATE_IMAGE_NETWORKS", "127.0.0.0/8")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        here = f"http://127.0.0.1:{server.server_port}"
        set_cell(3, 1, f"{here}/i3.png")(shop)
        set_cell(4, 1, f"{here}/gone.png?signature=secret")(shop)
        shop.queries = []
        shop.check()
        server.shutdown()
        thread.join()
    web = [item for item in items_of(shop).values() if item.image == f"{here}/i3.png"]
    assert [item.content_hash for item in web] == [hashlib.sha256(picture).hexdigest()]
    (reject,) = rejects_of(shop)
    assert reject.reason == "missing_image"
    assert "secret" not in reject.detail


def test_a_link_out_of_the_catalog_is_set_aside(shop, tmp_path):
    shutil.copy(shop.folder / "images/i3.png", tmp_path / "secret.png")
    (shop.folder / "images/i3.png").unlink()
    (shop.folder / "images/i3.png").symlink_to(tmp_path / "secret.png")
    shop.queries = []
    shop.check()
    (reject,) = rejects_of(shop)
    assert reject.reason == "outside_catalog"


def test_a_catalog_reached_through_a_link_is_fine(shop, tmp_path):
    (tmp_path / "link").symlink_to(shop.folder)
    shop.write()
    shop.folder = tmp_path / "link"
    assert shop.check()["items"] == 10


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (0, "q2", "duplicate_id"),
        (1, "images/none.png", "missing_image"),
        (1, "../x.png", "outside_catalog"),
        (2, "p77", "unknown_product"),
        (3, "", "missing_taxon"),
        (3, "seating", "not_a_leaf"),
        (3, "nothing", "unknown_taxon"),
    ],
)
def test_one_bad_query_is_set_aside(shop, column, value, reason):
    shop.queries[3][column] = value
    assert shop.check()["queries"] == 9
    (reject,) = rejects_of(shop)
    assert (reject.kind, reject.reason, reject.row) == ("query", reason, 5)


def test_a_query_may_not_know_its_product(shop):
    shop.queries[3][2] = ""
    assert shop.check()["queries"] == 10


@pytest.mark.parametrize(
    ("vote", "reason"),
    [
        (["i0", "w9", "nothing"], "unknown_taxon"),
        (["i99", "w9", "chair"], "unknown_item"),
        (["i0", "w1", "sofa"], "duplicate_vote"),
        (["", "w9", "chair"], "empty_id"),
        (["i0", "", "chair"], "empty_id"),
    ],
)
def test_one_bad_vote_is_set_aside(shop, vote, reason):
    shop.votes = [[f"i{n}", f"w{n % 3}", "chair"] for n in range(10)] + [["i0", "w1", "chair"]]
    shop.votes.append(vote)
    assert shop.check()["votes"] == 11
    (reject,) = rejects_of(shop)
    assert (reject.kind, reject.reason, reject.row) == ("vote", reason, 13)
    assert reject.key == vote[0]


def test_votes_for_an_item_that_was_set_aside_are_told_apart(shop):
    shop.queries = []
    shop.items[0][1] = "images/none.png"
    shop.votes = [["i0", "w1", "chair"], ["i1", "w1", "sofa"]]
    shop.check()
    assert [reject.reason for reject in rejects_of(shop)] == ["missing_image", "item_set_aside"]


@pytest.mark.parametrize("table", ["items", "queries", "votes"])
def test_too_many_rejects_stop_the_step(shop, table):
    shop.votes = [[f"i{n}", "w1", "chair"] for n in range(10)]
    for row in getattr(shop, table)[4:6]:
        row[1 if table != "votes" else 0] = "none"
    with pytest.raises(LookalikeError, match=rf"2 of 10 {table} were set aside") as error:
        shop.check(max_reject_share=0.19)
    assert "the first: row 6" in str(error.value)
    assert not isinstance(error.value, InputError)
    # Nothing that a later step would take for a checked catalog, but the page that shows why.
    assert not (shop.output / contract.SUMMARY_FILE).exists()
    assert shop.report.exists()
    shop.check(max_reject_share=0.2)
    assert (shop.output / contract.SUMMARY_FILE).exists()


def test_the_rejects_are_counted_by_reason(shop):
    shop.queries = []
    for row in (2, 3):
        shop.items[row][1] = "none"
    shop.items[5][5] = "-1"
    with pytest.raises(
        LookalikeError,
        match=r"\(missing_image 2, bad_traffic 1\)",
    ):
        shop.check()


def test_no_item_left_stops_the_step(shop):
    shop.items = [["i0", "none", "", "", "", "", ""]]
    shop.queries = []
    with pytest.raises(LookalikeError, match="found none that can be used"):
        shop.check()


def test_an_older_output_is_gone_when_the_step_stops(shop):
    shop.check()
    for row in shop.items:
        row[1] = "none"
    with pytest.raises(LookalikeError):
        shop.check()
    assert not (shop.output / contract.SUMMARY_FILE).exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "b", "A"), ("b", "a", "B")], "cycle: a -> b -> a"),
        ([("other", "", "Other")], "exactly one root"),
        ([("a", "nowhere", "A")], "the parent 'nowhere' of 'a' is not in the table"),
        ([("chair", "lamps", "Chairs")], "'chair' stands already in row 5"),
    ],
)
def test_a_broken_taxonomy_stops_the_step_before_anything_is_written(shop, rows, message):
    shop.taxonomy += rows
    with pytest.raises(InputError, match=r"taxonomy\.csv: .*cannot be used") as error:
        shop.check()
    assert error.match(message)
    assert not shop.output.exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "catalog.csv",
            r"catalog\.csv: expected the columns item_id, image; missing item_id, image",
        ),
        ("queries.csv", r"queries\.csv: expected the columns query_id, .* missing"),
        ("votes.csv", r"votes\.csv: expected the columns worker_id, taxon_id"),
        ("taxonomy.csv", r"taxonomy\.csv: expected the columns taxon_id"),
    ],
)
def test_missing_columns_are_named(shop, table, message):
    shop.votes = [["i0", "w1", "chair"]]
    shop.write()
    (shop.folder / table).write_text("id,picture\n1,2\n")
    with pytest.raises(InputError, match=message):
        shop.check(write=False)


def test_votes_need_an_item(shop):
    shop.votes = [["i0", "w1", "chair"]]
    shop.write()
    (shop.folder / "votes.csv").write_text("worker_id,taxon_id\nw1,chair\n")
    with pytest.raises(InputError, match="expected a column item_id or image_id"):
        shop.check(write=False)


@pytest.mark.parametrize("table", ["catalog.csv", "queries.csv", "votes.csv", "taxonomy.csv"])
def test_text_that_is_not_utf8_names_file_and_row(shop, table):
    shop.votes = [["i0", "w1", "chair"], ["i1", "w1", "chair"]]
    shop.write()
    path = shop.folder / table
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"i", b"\xe9", 1).replace(b"q", b"\xe9", 1)
    path.write_bytes(b"\n".join(lines))
    message = rf"{table}, row 3: expected UTF-8 text, received byte 0xe9"
    with pytest.raises(InputError, match=message):
        shop.check(write=False)


def test_a_missing_table_is_named(shop):
    with pytest.raises(InputError, match=r"catalog .*none\.csv: expected a table, found no file"):
        shop.check(catalog="none.csv")


def test_class_ids_follow_the_live_taxonomy(shop, tmp_path):
    shop.check()
    shutil.copy(shop.output / contract.TAXONOMY_FILE, tmp_path / "live.csv")
    shop.taxonomy.remove(("sofa", "seating", "Sofas"))
    shop.taxonomy.insert(1, ("rugs", "root", "Rugs"))
    shop.items = [row for row in shop.items if row[2] != "sofa"]
    shop.queries = [row for row in shop.queries if row[3] != "sofa"]
    shop.check(previous=tmp_path / "live.csv")
    tree = Taxonomy.read(shop.output / contract.TAXONOMY_FILE)
    assert tree.class_id("chair") == 3
    assert tree.class_id("rugs") == 8
    assert tree["sofa"].status == "retired"


def test_an_item_of_a_retired_leaf_is_set_aside(shop, tmp_path):
    shop.check()
    shutil.copy(shop.output / contract.TAXONOMY_FILE, tmp_path / "live.csv")
    shop.taxonomy.remove(("sofa", "seating", "Sofas"))
    shop.queries = []
    del shop.items[6]
    shop.check(previous=tmp_path / "live.csv")
    (reject,) = rejects_of(shop)
    assert reject.reason == "unknown_taxon"
    assert "retired" in reject.detail


def test_the_crowd_labels_what_no_curator_did(shop):
    for row in shop.items[:3]:
        row[2] = ""
    shop.votes = [
        # Agreement on a leaf, agreement on the department only, and none at all (i2).
        *(["i0", f"w{w}", "chair"] for w in range(4)),
        *(["i1", f"w{w}", leaf] for w, leaf in enumerate(("sofa", "stool", "sofa", "stool"))),
        # What makes the four workers believable.
        *([f"i{n}", f"w{w}", shop.items[n][2]] for n in range(3, 10) for w in range(4)),
    ]
    counts = shop.check()
    items = items_of(shop)
    assert counts["labelled_by_crowd"] == 2
    assert (items["i0"].taxon_id, items["i0"].label_source) == ("chair", "crowd")
    assert items["i0"].label_confidence > 0.9
    assert (items["i1"].taxon_id, items["i1"].label_source) == ("seating", "crowd")
    assert (items["i2"].taxon_id, items["i2"].label_source) == ("root", "none")
    assert summary_of(shop)["labels_above_leaf"] == 2
    assert "i1: Seating" in shop.report.read_text()


def test_curated_labels_win_and_disagreement_is_listed(shop):
    shop.votes = [
        *(["i0", f"w{w}", "floor-lamp"] for w in range(4)),
        *([f"i{n}", f"w{w}", shop.items[n][2]] for n in range(1, 10) for w in range(4)),
    ]
    assert shop.check()["suspected_errors"] == 1
    assert items_of(shop)["i0"].taxon_id == "chair"
    (suspect,) = summary_of(shop)["suspected_errors"]
    assert suspect["item_id"] == "i0"
    assert suspect["curated"] == "Seating > Chairs"
    assert suspect["crowd"] == "Lamps > Floor lamps"
    assert "the crowd says Lamps &gt; Floor lamps" in shop.report.read_text()


def test_the_real_quick_start_catalog(dev_mini, tmp_path):
    from components.catalog.check import check_catalog
    from components.catalog.config import CatalogConfig

    counts = check_catalog(
        catalog=(dev_mini / "catalog.csv").as_uri(),
        taxonomy=str(dev_mini / "taxonomy.csv"),
        votes=str(dev_mini / "votes.csv"),
        queries=str(dev_mini / "queries.csv"),
        previous_taxonomy=None,
        config=CatalogConfig(),
        output=tmp_path / "checked",
        report=tmp_path / "report.html",
    )
    assert (counts["items"], counts["queries"], counts["votes"]) == (2004, 334, 4058)
    assert counts["rejects"] == 0
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_class_ids_stay_through_a_new_version_and_a_merged_leaf_leads_on(shop, tmp_path):
    shop.check()
    before = tmp_path / "yesterday.csv"
    shutil.copyfile(shop.output / contract.TAXONOMY_FILE, before)
    old = Taxonomy.read(before)
    # A bench is new and first, stools are merged into chairs, table lamps move to the seats.
    tree = [row for row in shop.taxonomy if row[0] != "table-lamp"]
    tree[1:1] = [("bench", "seating", "Benches"), ("table-lamp", "seating", "Table lamps")]
    rows = "".join(
        f"{','.join(row)},{'retired,chair' if row[0] == 'stool' else ','}\n" for row in tree
    )
    shop.votes = [["i0", worker, "stool"] for worker in "abc"]
    shop.write()
    (shop.folder / "taxonomy.csv").write_text("taxon_id,parent_id,name,status,redirect\n" + rows)

    shop.check(previous=before, write=False)

    new = Taxonomy.read(shop.output / contract.TAXONOMY_FILE)
    for taxon in ("root", "seating", "lamps", "chair", "sofa", "stool", "table-lamp", "floor-lamp"):
        assert new.class_id(taxon) == old.class_id(taxon)
    assert new.class_id("bench") == 1 + max(old.class_id(row[0]) for row in shop.taxonomy)
    assert new.names("table-lamp") == "Seating > Table lamps"
    items, queries = items_of(shop), contract.read_queries(shop.output / contract.QUERIES_FILE)
    assert [items[f"i{n}"].taxon_id for n in (0, 2, 7)] == ["chair", "chair", "chair"]
    assert [query.taxon_id for query in queries][2] == "chair"
    assert not rejects_of(shop)
