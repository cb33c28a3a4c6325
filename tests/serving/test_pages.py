from __future__ import annotations

import asyncio
import html
import re
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from serving.app import create_app
from serving.engine import Engine
from serving.settings import Settings


@pytest.fixture(scope="module")
def app(module_maker):
    engine = Engine()
    for version in ("same", "now"):
        engine.swap(module_maker.loaded(version))
    made = create_app(engine, Settings(bundle=Path("unused"), max_upload_bytes=10_000))
    yield made
    made.state.service.close()
    made.state.console.close()


@pytest.fixture(scope="module")
def strange(module_maker):
    return module_maker.loaded("strange", prefix="strange-")


@pytest.fixture
def ask(app):
    def once(method, path, **options):
        async def run():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(run())

    return once


def ids(page):
    """Returns the items of each list of answers on a page."""
    lists = re.findall(r"<ol.*?</ol>", page.text, re.DOTALL)
    return [re.findall(r'item=([^"&]+)', part) for part in lists]


def post(ask, photo=b"", **fields):
    return ask("POST", "/", files={"image": ("p.png" if photo else "", photo)}, data=fields)


def test_an_item_is_answered_with_one_image_a_product(ask):
    page = ask("GET", "/?item=red1")
    assert page.status_code == 200
    assert page.headers["x-lookalike-bundle"] == "now"
    (found,) = ids(page)
    assert found[0] == "orange2"
    assert len(found) == 5


def test_a_department_filters_and_too_few_are_told(ask):
    page = ask("GET", "/?item=red1&department=seating")
    (found,) = ids(page)
    assert {name.rstrip("12") for name in found} == {"orange", "yellow"}
    assert "The filter leaves 2 of 12 results." in page.text
    assert '<option value="seating" selected>' in page.text


def test_a_department_that_does_not_exist_filters_nothing(ask):
    (found,) = ids(ask("GET", "/?item=red1&department=%3Cscript%3E"))
    assert len(found) == 5


def test_two_bundles_answer_side_by_side(ask):
    page = ask("GET", "/?item=red1&compare=same")
    first, second = ids(page)
    assert first == second
    assert "5 of 5 in common." in page.text
    assert "memory" not in page.text
    page = ask("GET", "/?item=red1&compare=<gone>")
    assert ids(page) == [first]
    assert "Version &lt;gone&gt; is not in this server&#x27;s memory; same can" in page.text


def test_the_bundle_on_trial_can_be_chosen(ask, app, strange, monkeypatch):
    assert "strange" not in ask("GET", "/").text
    trial = SimpleNamespace(engine=SimpleNamespace(current=strange))
    monkeypatch.setattr(app.state.service, "trial", trial)
    choices = re.findall(r'<option value="([^"]*)"', ask("GET", "/").text)
    assert {"same", "strange"} <= set(choices)


def test_a_bundle_that_does_not_have_the_item_says_so(ask, app, strange, monkeypatch):
    monkeypatch.setattr(app.state.service.engine, "previous", strange)
    page = ask("GET", "/?item=red1&compare=strange")
    assert "It does not have this item." in page.text
    assert len(ids(page)) == 1


def test_a_photo_is_answered_by_both_bundles_and_filtered(ask, maker):
    photo = maker.png((220, 40, 40))
    page = post(ask, photo, department="lamp", compare="same", q="", item="red1")
    first, second = ids(page)
    assert first == second
    assert {name.rstrip("12") for name in first} == {"green", "blue", "grey"}
    assert 'src="data:image/jpeg;base64,' in page.text


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"q": "red1"}, "/?q=red1"),
        ({"q": " big sofa ", "item": "red1"}, "/?q=big+sofa"),
        ({"q": "", "item": "red1", "department": "lamp"}, "/?item=red1&department=lamp"),
        ({"item": "a&b=c", "compare": "same"}, "/?item=a%26b%3Dc&compare=same"),
    ],
)
def test_a_form_without_a_photo_leads_to_the_page_of_its_words_or_item(ask, fields, location):
    answer = post(ask, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, location)


def test_words_find_items_and_an_id_is_the_item_itself(ask):
    page = ask("GET", "/?q=GREEN")
    assert re.findall(r'<ul class="grid"><li>.*?item=([^"&]+)', page.text) == ["green1"]
    assert "Looks like it" in ask("GET", "/?q=red1").text
    assert "No item has these words." in ask("GET", "/?q=spaceship").text


def test_mistakes_are_told_in_the_page(ask):
    unknown = ask("GET", "/?item=nothing")
    assert unknown.status_code == 404
    assert "item 'nothing' is not among" in html.unescape(unknown.text)
    for photo, status in ((b"no picture", 415), (b"x" * 20_000, 413)):
        page = post(ask, photo)
        assert page.status_code == status
        assert 'role="alert"' in page.text
    assert post(ask).status_code == 400


def test_withdrawn_items_are_nowhere_on_the_page(ask, app):
    bundle = app.state.service.engine.current
    bundle.hide({"orange1", "orange2"})
    try:
        for path in ("/", "/?item=red1", "/?q=orange"):
            assert "item=orange" not in ask("GET", path).text
        assert ask("GET", "/?item=orange1").status_code == 410
    finally:
        bundle.hide(set())
