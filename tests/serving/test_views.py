from __future__ import annotations

import base64
import hashlib
import re

from serving.views import CONTENT_SECURITY_POLICY, Choice, Column, Tile, item_link, render

EVIL = "\"><script>alert('x')</script>&"


def test_everything_from_the_catalog_is_escaped():
    tile = Tile(EVIL, EVIL, EVIL, "/v1/items/" + EVIL, 0.5)
    choice = Choice([(EVIL, EVIL)], EVIL, [EVIL], EVIL)
    columns = [Column(EVIL, [tile], EVIL)]
    pages = [
        render(version=EVIL, items=1, picks=[tile], choice=choice, **parts)
        for parts in (
            {"query": tile, "columns": columns, "error": EVIL},
            {"query": tile, "columns": columns * 2},
            {"matches": [tile], "words": EVIL},
        )
    ]
    page = "".join(pages)
    assert page.count("<script>") == len(pages)
    assert "alert('x')" not in page
    assert EVIL not in page


def test_the_policy_allows_exactly_the_style_and_the_script_of_the_page():
    page = render(version="v1", items=1, picks=[])
    for kind, directive in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    # The policy blocks handlers and styles inside tags: there must be none.
    assert not re.search(r"<[^>]+ (on\w+|style)=", page)


def test_the_page_asks_for_nothing_outside():
    tile = Tile("a", "A", "B", "/v1/items/a/thumbnail", 0.5)
    page = render(version="v1", items=1, picks=[tile], query=tile, columns=[Column("v1", [tile])])
    for address in re.findall(r'(?:src|href|action)="([^"]*)"', page):
        assert address.startswith(("/", "data:")), address
        assert not address.startswith("//")


def test_an_item_without_a_title_or_a_picture_shows_its_id():
    page = render(version="v1", items=1, picks=[Tile("ab/c d", "", "", "")])
    assert "<b>ab/c d</b>" in page
    assert item_link("ab/c d") == "/?item=ab%2Fc+d"
    assert "<img" not in page


def test_a_score_outside_the_meter_is_drawn_at_its_end_and_told_as_it_is():
    tile = Tile("a", "A", "", "")
    column = Column("v1", [Tile("b", "B", "", "", -0.25)])
    page = render(version="v1", items=1, picks=[], query=tile, columns=[column])
    assert 'value="0.0000"' in page
    assert "-0.250" in page


def test_no_result_is_said():
    page = render(
        version="v1", items=1, picks=[], query=Tile("a", "A", "", ""), columns=[Column("v1", [])]
    )
    assert "Nothing was found." in page


def test_a_filter_stays_chosen_and_goes_along_with_every_link():
    choice = Choice([("seating", "Seating"), ("lamps", "Lamps")], "lamps", ["v1"], "")
    page = render(version="v2", items=2, picks=[Tile("a", "A", "", "")], choice=choice)
    assert '<option value="lamps" selected>Lamps</option>' in page
    assert 'href="/?item=a&amp;department=lamps"' in page


def test_two_bundles_are_shown_side_by_side_with_what_only_one_gives():
    first = Column("v2", [Tile("a", "A", "", "", 0.9), Tile("b", "B", "", "", 0.8)])
    second = Column("v1", [Tile("b", "B", "", "", 0.7)], "It says something.")
    page = render(
        version="v2", items=2, picks=[], query=Tile("q", "Q", "", ""), columns=[first, second]
    )
    assert "1 of 2 in common" in page
    assert page.count("only here") == 1
    assert page.count('<section class="column">') == 2
    assert "It says something." in page


def test_words_that_no_item_has_are_told():
    page = render(version="v1", items=2, picks=[], matches=[], words="sofa")
    assert "Items with “sofa”" in page
    assert "No item has these words." in page
