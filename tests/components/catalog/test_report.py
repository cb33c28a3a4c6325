import pytest

from components.contracts.errors import LookalikeError


def page_of(shop):
    return shop.report.read_text(encoding="utf-8")


def test_a_rejected_row_is_shown_with_its_picture(shop):
    shop.queries = []
    shop.items[3][2] = "nothing"
    shop.check()
    page = page_of(shop)
    assert "row 5, i3: unknown_taxon" in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_what_a_table_says_is_text_and_nothing_else(shop):
    evil = "<script>alert(1)</script>"
    shop.queries = []
    shop.items[0][0] = evil
    shop.items[0][2] = evil
    shop.taxonomy[3] = ("chair", "seating", evil)
    shop.votes = [[f"i{n}", evil, "chair"] for n in range(1, 10)]
    shop.check()
    assert "<script" not in page_of(shop)


def test_the_page_stays_small_whatever_goes_wrong(shop):
    """Many rejects of one kind hide no other, and long texts are cut."""
    shop.queries = []
    first = shop.items[0]
    shop.items += [[f"x{n}", first[1], "t" * 5000, "", "", "", ""] for n in range(3000)]
    shop.items += [["i1", first[1], "", "", "", "", ""]]
    with pytest.raises(LookalikeError, match="unknown_taxon 3000"):
        shop.check()
    page = page_of(shop)
    assert "duplicate_id" in page
    assert len(page) < 2_000_000


def test_departments_count_labels_by_their_source(shop):
    shop.items[0][2] = ""
    shop.items[1][2] = ""
    shop.votes = [["i0", f"w{n}", "chair"] for n in range(3)]
    shop.check()
    page = page_of(shop)
    # Items i5 (chair), i6 (sofa), i2 and i7 (stool) are curated, i0 has the crowd's label; no
    # one knows i1.
    number = '<td class="number">'
    row = "".join(f"{number}{value}</td>" for value in (5, 5, 3, 0, 4, 1, 0))
    assert f"<td>Seating</td>{row}" in page
    row = "".join(f"{number}{value}</td>" for value in (1, 1, 0, 0, 0, 0, 1))
    assert f"<td>(no label)</td>{row}" in page
