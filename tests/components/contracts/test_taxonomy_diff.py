import pytest

from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from components.contracts.taxonomy_diff import Change, compare, render

OLD = """taxon_id,parent_id,name
root,,All
seating,root,Seating
lamps,root,Lamps
chair,seating,Chairs
sofa,seating,Sofas
couch,seating,Couches
table-lamp,lamps,Table lamps
"""
NEW = """taxon_id,parent_id,name,status,redirect
root,,All,,
seating,root,Seats,,
lamps,root,Lamps,,
chair,lamps,Chairs,,
sofa,seating,Sofas,,
couch,seating,Couches,retired,sofa
stool,seating,Stools & more,,
"""


def versions(old=OLD, new=NEW):
    before = Taxonomy.parse(old.encode())
    return before, Taxonomy.parse(new.encode()).with_class_ids_of(before)


def test_every_kind_of_change():
    assert compare(*versions()) == [
        Change("added", "stool", 7, "", "Seats > Stools & more"),
        Change("retired", "table-lamp", 6, "Lamps > Table lamps", ""),
        Change("merged", "couch", 5, "Seating > Couches", "Seats > Sofas"),
        Change("moved", "chair", 3, "Seating > Chairs", "Lamps > Chairs"),
        Change("renamed", "seating", 1, "Seating", "Seats"),
    ]


def test_no_change_and_a_node_that_returns():
    before, after = versions()
    assert compare(after, after) == []
    back = Taxonomy.parse(OLD.encode()).with_class_ids_of(after)
    kinds = {(change.kind, change.taxon_id) for change in compare(after, back)}
    assert ("returned", "couch") in kinds
    assert ("returned", "table-lamp") in kinds
    assert ("retired", "stool") in kinds
    assert back.class_id("couch") == before.class_id("couch")


def test_a_number_that_changed_its_meaning_is_told():
    new = OLD.replace("name\n", "name,class_id\n").replace("All\n", "All,9\n")
    lines = new.splitlines()
    lines[2:] = [f"{line},{number}" for number, line in enumerate(lines[2:], start=1)]
    after = Taxonomy.parse("\n".join(lines).encode())
    (change,) = compare(Taxonomy.parse(OLD.encode()), after)
    assert change == Change("renumbered", "root", 9, "0", "9")


def test_redirects_are_followed_to_the_node_in_use():
    chain = NEW.replace("retired,sofa", "retired,divan") + "divan,seating,Divans,retired,sofa\n"
    tree = Taxonomy.parse(chain.encode())
    assert tree.successor("couch") == tree.successor("divan") == tree.successor("sofa") == "sofa"
    assert tree.successor("nothing") == ""
    gone = Taxonomy.parse(NEW.replace("retired,sofa", "retired,").encode())
    assert gone.successor("couch") == ""


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ("retired,sofa", "retired,nowhere", "row 7: 'couch' redirects to 'nowhere', which is not"),
        ("retired,sofa", ",sofa", "row 7: 'couch' is active and redirects to 'sofa'"),
        ("retired,sofa", "retired,couch", "redirects in a cycle: couch -> couch"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_refused(was, now, expected):
    with pytest.raises(InputError, match=expected):
        Taxonomy.parse(NEW.replace(was, now).encode())


def test_the_page_marks_what_changed_in_the_tree_and_escapes_names():
    before, after = versions(new=NEW.replace("Stools & more", "<script>x</script>"))
    page = render(before, after, compare(before, after), title="Taxonomy")
    assert "<script>" not in page
    assert '<span class="added">+ <b>&lt;script&gt;' in page
    assert "merged into Seats &gt; Sofas" in page
    # What was retired stands below the parent that it had.
    lamps = page[page.index("<code>lamps</code>") :]
    assert '<span class="gone">\N{MINUS SIGN} <b>Table lamps</b>' in lamps
    assert "The two versions say the same" in render(after, after, [], title="Taxonomy")


def test_a_branch_that_goes_as_a_whole_is_shown_as_a_whole():
    before, after = versions(new="taxon_id,parent_id,name\nroot,,All\nseating,root,Seating\n")
    page = render(before, after, compare(before, after), title="Taxonomy")
    for node in ("lamps", "table-lamp", "chair", "sofa", "couch"):
        assert f"<code>{node}</code> retired" in page
