import json

import pytest
from click.testing import CliRunner

from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from pipelines.cli.taxonomy_commands import taxonomy

OLD = "taxon_id,parent_id,name\nroot,,All\nseating,root,Seating\nsofa,seating,Sofas\n"
# The new node stands first: numbered anew, every class id below it would shift.
NEW = (
    "taxon_id,parent_id,name\nroot,,All\nstool,seating,Stools\nseating,root,Seating\n"
    "sofa,seating,Sofas\n"
)


def run(*arguments):
    return CliRunner().invoke(taxonomy, [str(argument) for argument in arguments])


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "old.csv").write_text(OLD)
    (tmp_path / "new.csv").write_text(NEW)
    return tmp_path


def test_check_counts(tables):
    result = run("check", tables / "new.csv")
    assert result.exit_code == 0
    assert "4 nodes in use, 2 leaves, 1 departments, 2 levels; 0 retired" in result.output


def test_check_tells_every_problem(tables):
    (tables / "bad.csv").write_text(NEW + "x,nowhere,X\nsofa,root,Sofas\n")
    result = run("check", tables / "bad.csv")
    assert isinstance(result.exception, InputError)
    assert "nowhere" in str(result.exception)
    assert "stands already" in str(result.exception)


def test_diff_as_table_page_and_json(tables):
    result = run("diff", tables / "old.csv", tables / "new.csv", "--html", tables / "d.html")
    assert result.exit_code == 0, result.output
    assert "added   stool  3                 Seating > Stools" in result.output
    assert "1 added\n" in result.output
    assert "renumbered" not in result.output
    assert "<b>Stools</b>" in (tables / "d.html").read_text()
    result = run("diff", tables / "old.csv", tables / "new.csv", "--json")
    assert [change["taxon_id"] for change in json.loads(result.output)] == ["stool"]
    assert run("diff", tables / "old.csv", tables / "old.csv").output == "no change\n"


def test_proposals_become_rows_that_a_curator_can_append(tables):
    items = "".join(f"i{n},x.png\n" for n in range(40))
    (tables / "catalog.csv").write_text("item_id,image\n" + items)
    rows = [f"i{n},w{w},seating,{name}\n" for n in range(2) for w, name in
            enumerate(("Bar stools", "bar stool", "Bar-stools", "Thrones"))]  # fmt: skip
    rows += [f"i{n},liar,seating,Bar stools\n" for n in range(2)]
    (tables / "proposals.csv").write_text("item,worker,parent,name\n" + "".join(rows))
    arguments = ("propose", tables / "proposals.csv", "--taxonomy", tables / "new.csv",
                 "--catalog", tables / "catalog.csv", "--min-items", "2",
                 "--output", tables / "more.csv")  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "bar-stool: Seating > Bar stools (4 workers, 2 items, 80% agree" in result.output
    appended = NEW + "".join((tables / "more.csv").read_text().splitlines(keepends=True)[1:])
    assert Taxonomy.parse(appended.encode()).names("bar-stool") == "Seating > Bar stools"

    # Three agree on sofas, the liar alone on stools: that is a spammer, and proposes nothing.
    votes = [f"i{n},{w},sofa\n" for n in range(40) for w in ("a", "b", "c")]
    votes += [f"i{n},liar,stool\n" for n in range(40)]
    (tables / "votes.csv").write_text("item_id,worker_id,taxon_id\n" + "".join(votes))
    result = run(*arguments, "--votes", tables / "votes.csv")
    assert "(3 workers, 2 items, 75% agree" in result.output
    result = run(*arguments, "--html", tables / "page.html")
    assert "Seating &gt; Bar stools" in (tables / "page.html").read_text()
    result = run(*arguments, "--votes", tables / "votes.csv")
    assert "unreliable_worker 2, the first: row 10, worker 'liar'" in result.output

    (tables / "proposals.csv").write_text("item,worker,parent,name\nghost,a,seating,Thrones\nx\n")
    earlier = (tables / "more.csv").read_text()
    result = run(*arguments)
    assert isinstance(result.exception, InputError)
    assert "every row was set aside; nothing was written" in str(result.exception)
    assert "unknown_item 1, the first: row 2" in result.output
    assert (tables / "more.csv").read_text() == earlier
