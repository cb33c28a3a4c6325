from __future__ import annotations

import base64
import hashlib
import re

from serving.views import CONTENT_SECURITY_POLICY, Tile, item_link, render

EVIL = "\"><script>alert('x')</script>&"


def test_everything_from_the_catalog_is_escaped():
    tile = Tile(EVIL, EVIL, EVIL, "/v1/items/" + EVIL, 0.5)
    page = render(version=EVIL, items=1, picks=[tile], query=tile, results=[tile], error=EVIL)
    assert page.count("<script>") == 1
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
    page = render(version="v1", items=1, picks=[tile], query=tile, results=[tile])
    for address in re.findall(r'(?:src|href|action)="([^"]*)"', page):
        assert address.startswith(("/", "data:")), address
        assert not address.startswith("//")


def test_an_item_without_a_title_or_a_picture_shows_its_id():
    page = render(version="v1", items=1, picks=[Tile("ab/c d", "", "", "")])
    assert "<b>ab/c d</b>" in page
    assert item_link("ab/c d") == "/?item=ab%2Fc%20d"
    assert "<img" not in page


def test_a_score_outside_the_meter_is_drawn_at_its_end_and_told_as_it_is():
    tile = Tile("a", "A", "", "")
    page = render(
        version="v1", items=1, picks=[], query=tile, results=[Tile("b", "B", "", "", -0.25)]
    )
    assert 'value="0.0000"' in page
    assert "-0.250" in page


def test_no_result_is_said():
    page = render(version="v1", items=1, picks=[], query=Tile("a", "A", "", ""), results=[])
    assert "Nothing was found." in page
