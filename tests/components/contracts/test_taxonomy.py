import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy

TABLE = b"""taxon_id,parent_id,name
root,,All
seating,root,Seating
lamps,root,Lamps
chair,seating,Chairs
sofa,seating,Sofas
table-lamp,lamps,Table lamps
"""


def parse(text):
    return Taxonomy.parse(text if isinstance(text, bytes) else text.encode(), source="t.csv")


def test_tree():
    tree = parse(TABLE)
    assert tree.root == "root"
    assert tree.departments == ("seating", "lamps")
    assert tree.leaves == ("chair", "sofa", "table-lamp")
    assert tree.levels == (("seating", "lamps"), ("chair", "sofa", "table-lamp"))
    assert tree.path("sofa") == ("seating", "sofa")
    assert tree.path("root") == ()
    assert tree.department("sofa") == "seating"
    assert tree.department("root") == "root"
    assert tree.names("sofa") == "Seating > Sofas"
    assert tree.common_ancestor("chair", "sofa") == "seating"
    assert tree.common_ancestor("chair", "table-lamp") == "root"
    assert tree.common_ancestor("chair", "seating") == "seating"
    assert tree.is_leaf("chair")
    assert not tree.is_leaf("seating")
    assert "chair" in tree
    assert "nothing" not in tree
    assert None not in tree


def test_class_ids_follow_the_table_and_survive_a_round_trip(tmp_path):
    tree = parse(TABLE)
    assert [taxon.class_id for taxon in tree.taxa] == [0, 1, 2, 3, 4, 5]
    tree.write(tmp_path / "t.csv")
    again = Taxonomy.read(tmp_path / "t.csv")
    assert again.taxa == tree.taxa
    assert again.digest == tree.digest


def test_new_nodes_are_appended_and_lost_ones_retired():
    before = parse(TABLE)
    after = parse(
        "taxon_id,parent_id,name\nroot,,All\nstool,seating,Stools\nseating,root,Seating\n"
        "sofa,seating,Sofas\n"
    ).with_class_ids_of(before)
    assert {t.taxon_id: t.class_id for t in after.taxa} == {
        "root": 0,
        "stool": 6,
        "seating": 1,
        "sofa": 4,
        "lamps": 2,
        "chair": 3,
        "table-lamp": 5,
    }
    assert {t.taxon_id for t in after.taxa if t.status == "retired"} == {
        "lamps",
        "chair",
        "table-lamp",
    }
    assert "chair" not in after
    assert after["chair"].class_id == 3
    # A node that comes back has its old number, and no other ever gets it.
    back = parse(TABLE).with_class_ids_of(after)
    assert back.class_id("chair") == 3
    assert back["stool"].status == "retired"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("root,,All\na,b,A\nb,a,B", "cycle: a -> b -> a"),
        ("root,,All\na,a,A", "cycle: a -> a"),
        ("root,,All\nother,,Other", "exactly one root .* found 'root', 'other'"),
        ("a,b,A\nb,a,B", "exactly one root .* found none"),
        ("root,,All\na,nowhere,A", "row 3: the parent 'nowhere' of 'a' is not in the table"),
        ("root,,All\na,root,A\na,root,B", "row 4: taxon_id 'a' stands already in row 3"),
        ("root,,All\n,root,A", "row 3: expected a taxon_id"),
        ("root,,All\na,root,", "row 3: 'a' has no name"),
        ("root,,All\na,root,Same\nb,root,same", "row 4: 'b' has the same name"),
        ("root,,All\na,root,A,surplus", "row 3: expected 3 cells, received 4"),
        ("root,,All\na,root", "row 3: expected 3 cells, received 2"),
    ],
)
def test_a_broken_tree_is_refused_with_row_and_reason(rows, expected):
    with pytest.raises(InputError, match=r"t\.csv: the taxonomy cannot be used") as error:
        parse(f"taxon_id,parent_id,name\n{rows}\n")
    assert error.match(expected)


def test_every_problem_is_told_at_once():
    with pytest.raises(InputError) as error:
        parse("taxon_id,parent_id,name\nroot,,All\na,nowhere,A\na,root,\nx,y,X\ny,x,Y\n")
    for part in ("nowhere", "stands already", "has no name", "cycle"):
        assert part in str(error.value)


def test_rows_are_counted_as_an_editor_counts_them():
    with pytest.raises(InputError, match="row 5: the parent 'nowhere'"):
        parse("taxon_id,parent_id,name\nroot,,All\n\n\na,nowhere,A\n")


def test_missing_columns_are_named():
    with pytest.raises(InputError, match="missing parent_id; received taxon_id, name"):
        parse("taxon_id,name\nroot,All\n")


def test_not_utf8_names_the_row():
    with pytest.raises(InputError, match=r"t\.csv, row 3: expected UTF-8 text, received byte 0xe4"):
        parse(b"taxon_id,parent_id,name\nroot,,All\nb\xe4nke,root,B\n")


def test_an_open_quote_is_an_input_error():
    with pytest.raises(InputError, match=r"t\.csv"):
        parse('taxon_id,parent_id,name\nroot,,"All\n')


def test_a_byte_order_mark_and_windows_line_ends_are_fine():
    assert parse(b"\xef\xbb\xbf" + TABLE.replace(b"\n", b"\r\n")).leaves == parse(TABLE).leaves


@pytest.mark.parametrize("number", ["²", "-1", "1.5", "x"])
def test_a_class_id_that_is_no_number_is_refused(number):
    with pytest.raises(InputError, match="class_id"):
        parse(f"taxon_id,parent_id,name,class_id\nroot,,All,{number}\n")


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Taxonomy.read(tmp_path / "none.csv")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.data())
def test_numbers_never_change_their_meaning(parents, data):
    """Whatever subset of the nodes each day's table holds, a number belongs to one node for ever.

    Node i hangs below a node before it, so every table is a tree; a node whose parent is absent
    that day hangs below the root.
    """

    def table(nodes):
        lines = ["taxon_id,parent_id,name", "root,,All"]
        for node in nodes:
            parent = parents[node] % (node + 1)
            above = f"n{parent - 1}" if parent and parent - 1 in nodes else "root"
            lines.append(f"n{node},{above},Node {node}")
        return "\n".join(lines)

    meaning = {}
    previous = None
    for _ in range(3):
        nodes = data.draw(st.sets(st.integers(0, len(parents) - 1)))
        today = parse(table(sorted(nodes)))
        if previous is not None:
            today = today.with_class_ids_of(previous)
        for taxon in today.taxa:
            assert meaning.setdefault(taxon.class_id, taxon.taxon_id) == taxon.taxon_id
        assert {t.taxon_id for t in today.taxa if t.status == "active"} == {
            "root",
            *(f"n{node}" for node in nodes),
        }
        previous = today
