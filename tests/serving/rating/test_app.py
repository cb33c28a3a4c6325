"""The application as a browser meets it: signing in, practice, live work, what it refuses."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from components.human_eval.rating_log import RatingLog, gather
from components.registry import campaigns
from components.registry.object_store import ObjectStoreError
from serving.rating.links import OWNER, Pass, Secrets

from .conftest import CHANNEL, KEYS, answer, form_token, task_of, token_for


def kept(made):
    return gather(
        RatingLog(made.store, made.prefix),
        campaign=made.campaign,
        tasks=[pair.task_id for pair in made.plan.pairs],
        allow_simulated=True,
    )


def test_a_link_signs_in_and_leaves_the_address_bar(served):
    token = token_for()
    entered = served.client.get("/join", params={"key": token})

    assert (entered.status_code, entered.headers["location"]) == (303, "/welcome")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    welcome = served.client.get("/welcome").text
    assert "30 practice pairs" in welcome
    assert token not in welcome


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        (token_for()[:-2] + "xx", 403, "damaged"),
        ("", 403, "damaged"),
        ("a.b.c", 403, "damaged"),
        ("é.é", 403, "damaged"),
        ("x" * 5000, 403, "damaged"),
        (token_for(hours=-1), 401, "over"),
        (token_for(channel="prod"), 403, "another campaign"),
        (token_for(campaign="other"), 403, "another campaign"),
        (token_for(role="admin"), 403, "damaged"),
        (
            Pass("rater", "ann", CHANNEL, "", time.time() + 99).token(Secrets((b"k" * 40,))),
            403,
            "damaged",
        ),
    ],
)
def test_a_bad_link_opens_nothing_and_says_why(served, token, status, words):
    refused = served.client.get("/join", params={"key": token})

    assert refused.status_code == status
    assert words in refused.text
    assert "set-cookie" not in refused.headers
    assert served.client.get("/rate").status_code == 401


def test_a_link_cannot_be_made_into_another_persons(served):
    payload, _, signature = token_for("ann").partition(".")
    forged = token_for("bob").partition(".")[0] + "." + signature

    assert served.client.get("/join", params={"key": forged}).status_code == 403
    assert payload


def test_practice_tells_the_answer_and_the_real_work_does_not(served):
    browser = served.sign_in()
    page = browser.get("/rate")
    assert "Practice 1 of 30" in page.text
    gold = served.made.gold(task_of(form_token(page.text)))
    sent = answer(browser, page.text, str(3 - gold))
    assert sent.headers["location"] == "/feedback"
    told = browser.get("/feedback").text
    assert "Not quite" in told
    assert "Undo" not in told

    page = browser.get("/rate")
    gold = served.made.gold(task_of(form_token(page.text)))
    answer(browser, page.text, str(gold))
    assert "Just so" in browser.get("/feedback").text

    for _ in range(28):
        page = browser.get("/rate")
        answer(browser, page.text, str(served.made.gold(task_of(form_token(page.text)))))
    assert "29 of 30 right" in browser.get("/feedback").text
    page = browser.get("/rate")
    assert "0 rated by you" in page.text
    assert answer(browser, page.text, "2").headers["location"] == "/rate"
    assert browser.get("/feedback").headers["location"] == "/rate"
    assert len(kept(served.made).valid) == 31


def test_who_fails_practice_may_try_once_more_on_other_pairs(served):
    browser = served.qualify("ann", wrong=20)
    seen = {rating.task_id for rating in kept(served.made).valid}
    page = browser.get("/rate")
    assert "Practice 1 of 30" in page.text
    assert task_of(form_token(page.text)) not in seen
    for _ in range(30):
        page = browser.get("/rate")
        answer(browser, page.text, str(served.made.gold(task_of(form_token(page.text)))))

    # 10 right of 30, then 30 of 30: J is 1/3, less than .4.
    assert browser.get("/rate").status_code == 403
    assert "does not suit everybody" in browser.get("/rate").text


def test_three_raters_complete_every_pair_and_nobody_sees_one_twice(served):
    browsers = [served.qualify(f"rater-{number}") for number in range(8)]
    tasks = {pair.task_id for pair in served.made.plan.live}
    for _ in range(60):
        for browser in browsers:
            page = browser.get("/rate")
            if form_token(page.text):
                answer(browser, page.text, "2")

    live = [rating for rating in kept(served.made).valid if rating.task_id in tasks]
    for task in tasks:
        mine = [rating.rater_id for rating in live if rating.task_id == task]
        assert len(mine) == len(set(mine)) == 3
    page = browsers[0].get("/rate").text
    assert "Nothing for you right now" in page or "your share" in page


def test_nobody_gives_more_than_a_quarter(make_campaign, serve_campaign):
    served = serve_campaign(make_campaign(queries=8))
    browser = served.qualify()
    given = 0
    while form_token(page := browser.get("/rate").text):
        answer(browser, page, "1")
        given += 1

    # 16 pairs need 48 ratings; a quarter is 12.
    assert "You have done your share" in page
    live = {pair.task_id for pair in served.made.plan.live}
    assert sum(rating.task_id in live for rating in kept(served.made).valid) == 12


def test_cannot_tell_asks_for_two_more(served):
    browsers = [served.qualify(name) for name in ("ann", "bob", "cay", "dan", "eve")]
    for browser in browsers:
        while form_token(page := browser.get("/rate").text):
            answer(browser, page, "cant_tell")

    tasks = {pair.task_id for pair in served.made.plan.live}
    live = [rating for rating in kept(served.made).valid if rating.task_id in tasks]
    most = max(sum(r.task_id == task for r in live) for task in tasks)
    assert most == 5


def test_the_last_answer_can_be_changed_and_both_are_kept(served):
    browser = served.qualify()
    page = browser.get("/rate").text
    task = task_of(form_token(page))
    assert "Undo" not in page
    answer(browser, page, "0")
    assert "Undo" in browser.get("/rate").text

    again = browser.get("/correct").text
    assert task_of(form_token(again)) == task
    assert 'value="0" data-key="0" aria-pressed="true"' in again
    assert answer(browser, again, "3").headers["location"] == "/rate?note=changed"
    found = kept(served.made)
    assert [r.grade for r in found.valid if r.task_id == task] == [3]
    assert found.counts() == {"corrected": 1}
    # Sent twice it is there once.
    answer(browser, again, "3")
    assert kept(served.made).counts() == {"corrected": 1}


def test_an_answer_cannot_be_changed_after_two_minutes(served, monkeypatch):
    browser = served.qualify()
    answer(browser, browser.get("/rate").text, "0")
    again = browser.get("/correct").text
    later = time.time() + 121
    monkeypatch.setattr(time, "time", lambda: later)

    assert browser.get("/correct").headers["location"] == "/rate?note=late_correction"
    assert "late_correction" in answer(browser, again, "3").headers["location"]
    assert kept(served.made).counts() == {}


def refusals(served, browser, token, grade="2"):
    sent = browser.post("/rate", data={"token": token, "grade": grade})
    found = re.search(r"note=(\w+)", sent.headers.get("location", ""))
    return found[1] if found else str(sent.status_code)


def test_what_is_no_answer_is_refused_with_its_reason_and_counted(served):
    browser = served.qualify()
    before = kept(served.made)
    page = browser.get("/rate").text
    token = form_token(page)
    task = task_of(token)
    now = int(time.time() * 1000)

    def signed(**changes):
        return KEYS.sign(
            "assignment", {"k": "c0ffee", "n": "ann", "t": task, "v": 0, "i": now} | changes
        )

    assert refusals(served, browser, token[:-3]) == "tampered"
    assert refusals(served, browser, "") == "tampered"
    # A link's token is signed, too, but for another purpose.
    assert refusals(served, browser, token_for()) == "tampered"
    assert refusals(served, browser, signed(n="bob")) == "tampered"
    assert refusals(served, browser, signed(k="yesterday")) == "other_campaign"
    assert refusals(served, browser, signed(t="nowhere")) == "unknown_task"
    assert refusals(served, browser, signed(i=now + 120_000)) == "out_of_clock_order"
    assert refusals(served, browser, signed(i=now - 13 * 3600_000)) == "stale"
    assert refusals(served, browser, token, "4") == "grade_out_of_range"
    assert refusals(served, browser, token, "") == "grade_out_of_range"
    assert refusals(served, browser, token, "2\x00") == "grade_out_of_range"
    assert kept(served.made) == before
    assert served.desk.refused == {
        "tampered": 4,
        "other_campaign": 1,
        "unknown_task": 1,
        "out_of_clock_order": 1,
        "stale": 1,
        "grade_out_of_range": 3,
    }
    assert answer(browser, page, "2").headers["location"] == "/rate"


def test_a_doubled_answer_is_kept_once_and_the_first_stands(served):
    browser = served.qualify()
    page = browser.get("/rate").text

    assert answer(browser, page, "2").headers["location"] == "/rate"
    assert answer(browser, page, "2").headers["location"] == "/rate"
    assert answer(browser, page, "0").headers["location"] == "/rate?note=doubled"
    task = task_of(form_token(page))
    assert [r.grade for r in kept(served.made).valid if r.task_id == task] == [2]
    assert "your first answer stands" in browser.get("/rate?note=doubled").text


def test_notes_show_our_words_alone(served):
    browser = served.qualify()

    assert "<script>alert" not in browser.get("/rate?note=<script>alert(1)</script>").text


def test_an_answer_from_another_site_is_not_taken(served):
    browser = served.qualify()
    page = browser.get("/rate").text
    data = {"token": form_token(page), "grade": "2"}

    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert browser.post("/rate", data=data, headers=headers).status_code == 403
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/rate", data=data, headers=own).status_code == 303


def test_a_banned_rater_is_told_and_the_work_is_issued_again(served):
    browser = served.qualify("ann")
    page = browser.get("/rate").text
    answer(browser, page, "2")
    open_page = browser.get("/rate").text
    needed = served.desk.board.totals().needed
    served.desk.act("ban", "ann", by="boss", reason="bot")

    assert browser.get("/rate").status_code == 403
    assert answer(browser, open_page, "2").status_code == 403
    assert served.desk.refused["banned"] == 1
    assert served.desk.board.totals().needed >= needed
    served.desk.act("lift", "ann", by="boss", reason="mistake")
    assert browser.get("/rate").status_code == 200


def test_simulated_raters_need_campaign_and_policy(make_campaign, serve_campaign):
    open_to_all = serve_campaign(make_campaign())
    browser = open_to_all.sign_in("simulated:careful-01")
    page = browser.get("/rate").text
    answer(browser, page, "3")
    log = RatingLog(open_to_all.made.store, open_to_all.made.prefix)
    assert [(e.record.simulated, e.record.source) for e in log.read()] == [(True, "simulated")]

    for number, options in enumerate(({"allow_simulated": False}, {"raters": "web"})):
        people_only = serve_campaign(make_campaign(campaign=f"c{number}", **options))
        browser = people_only.sign_in("simulated:careful-01")
        assert browser.get("/rate").status_code == 403
        assert people_only.sign_in("ann").get("/rate").status_code == 200


def test_a_campaign_that_has_ended_takes_nothing(served):
    browser = served.qualify()
    page = browser.get("/rate").text
    campaigns.close(
        served.made.store, CHANNEL, served.made.campaign, state="expired",
        at=datetime.now(UTC), who="test", why="test",
    )  # fmt: skip
    served.reception.look()

    assert "All done" in browser.get("/rate").text
    assert "All done" in answer(browser, page, "2").text
    assert served.desk.refused["closed"] == 1


def test_a_campaign_past_its_deadline_takes_nothing(make_campaign, serve_campaign):
    served = serve_campaign(make_campaign(created=datetime.now(UTC) - timedelta(hours=73)))

    assert "All done" in served.sign_in().get("/rate").text


def test_a_new_campaign_takes_over(served, make_campaign):
    browser = served.qualify()
    page = browser.get("/rate").text
    make_campaign(campaign="beef")
    served.reception.look()

    assert served.desk.campaign == "beef"
    assert answer(browser, page, "2").headers["location"] == "/rate?note=other_campaign"
    assert "Practice 1 of 30" in browser.get("/rate").text


def test_a_channel_without_a_campaign_says_so(tmp_path, serve_campaign, made):
    from components.registry.object_store import open_store

    for info in list(open_store(made.registry).list("campaigns/")):
        made.store.delete(info.key)
    served = serve_campaign(made)

    assert "Nothing to rate" in served.sign_in().get("/rate").text
    assert served.client.get("/readyz").status_code == 503
    assert served.client.get("/healthz").status_code == 200


def test_what_cannot_be_saved_is_not_acknowledged(served, monkeypatch):
    browser = served.qualify()
    page = browser.get("/rate").text

    def away(*arguments, **options):
        raise ObjectStoreError("away")

    monkeypatch.setattr(served.desk._store, "write", away)
    refused = answer(browser, page, "2")
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers
    monkeypatch.undo()
    assert answer(browser, page, "2").headers["location"] == "/rate"


def test_a_server_that_was_killed_goes_on_where_it_stood(served, serve_campaign):
    browser = served.qualify()
    answer(browser, browser.get("/rate").text, "2")
    page = browser.get("/rate").text
    # Nothing is handed over but the registry.
    again = serve_campaign(served.made)
    returned = again.sign_in("ann")

    assert task_of(form_token(returned.get("/rate").text)) == task_of(form_token(page))
    assert "1 rated by you" in returned.get("/rate").text
    assert answer(returned, page, "2").headers["location"] == "/rate"
    assert len(kept(served.made).valid) == 32


def test_two_replicas_give_a_pair_to_no_more_than_needed(made, serve_campaign):
    left, right = serve_campaign(made), serve_campaign(made)
    raters = []
    for number in range(8):
        place = (left, right)[number % 2]
        raters.append(place.qualify(f"r{number}"))
        left.reception.look()
        right.reception.look()
    for _ in range(40):
        for browser in raters:
            page = browser.get("/rate").text
            if form_token(page):
                answer(browser, page, "2")

    live = {pair.task_id for pair in made.plan.live}
    counts = [r.task_id for r in kept(made).valid if r.task_id in live]
    assert {task: counts.count(task) for task in live} == dict.fromkeys(live, 3)


def test_every_answer_has_the_headers(served):
    browser = served.qualify()
    for path in ("/rate", "/guidelines", "/nowhere", "/join?key=x", "/examples/chair.jpg"):
        headers = browser.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "same-origin"
    assert browser.get("/rate").headers["cache-control"] == "no-store"
    assert "unsafe-inline" not in browser.get("/rate").headers["content-security-policy"]


def test_pages_fetch_nothing_from_elsewhere(served):
    browser = served.qualify()
    for path in ("/rate", "/guidelines", "/welcome"):
        text = browser.get(path).text
        assert re.findall(r"""(?:src|href)=["'](?!/|data:)""", text) == []
        assert "@import" not in text
        assert "url(" not in text
        # The policy allows no style and no handler in an attribute.
        assert re.findall(r"<[^>]+ (?:style|on\w+)=", text) == []


def test_a_title_is_hidden_until_it_is_asked_for(served):
    text = served.qualify().get("/rate").text

    # Closed: there is no `open`.
    assert re.search(r"<details><summary>Title</summary>Thing &lt;i\d+&gt;</details>", text)


def test_breaks_are_suggested(served, monkeypatch):
    browser = served.qualify()
    start = time.time()
    for minute in range(0, 24, 4):
        monkeypatch.setattr(time, "time", lambda minute=minute: start + 60 * minute)
        page = browser.get("/rate").text
        if minute < 24 and form_token(page):
            answer(browser, page, "2")

    monkeypatch.setattr(time, "time", lambda: start + 60 * 21)
    assert "short break" in browser.get("/rate").text
    browser.post("/break")
    assert form_token(browser.get("/rate").text)


def test_the_log_holds_neither_links_nor_keys(served, caplog):
    import logging

    from serving import log

    log.logger.propagate = True
    token = token_for()
    with caplog.at_level(logging.INFO):
        served.client.get("/join", params={"key": token})
        served.client.get("/join", params={"key": token + "x"})
    # The test's own client logs what it asks for.
    ours = [record for record in caplog.records if record.name == "lookalike.serving"]
    assert ours
    assert not any(token[:20] in str(record.__dict__) for record in ours)


def owner(served):
    return served.sign_in("boss", role=OWNER)


def csrf(text):
    return re.search(r'name="csrf" value="([^"]+)"', text)[1]


def test_raters_do_not_see_the_owners_page(served):
    browser = served.qualify()

    assert browser.get("/owner").status_code == 401
    assert browser.post("/owner/act", data={}).status_code == 401
    # A rater's token in the owner's cookie does not help.
    browser.cookies.set("lookalike_owner", token_for("ann"), path="/owner")
    assert browser.get("/owner").status_code == 403


def test_the_owner_bans_and_lifts(served):
    served.qualify("ann")
    boss = owner(served)
    page = boss.get("/owner").text
    assert "ann" in page
    data = {"csrf": csrf(page), "action": "ban", "subject": "ann", "reason": "too fast"}

    assert boss.post("/owner/act", data=data).headers["location"] == "/owner?done=ban"
    page = boss.get("/owner?done=ban").text
    assert "banned by you: too fast" in page
    assert "boss" in page
    assert boss.post("/owner/act", data=data | {"action": "lift"}).status_code == 303
    assert served.desk.board.actions.banned == {}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"csrf": "guess"}, 403),
        ({"csrf": ""}, 403),
        ({"action": "delete"}, 400),
        ({"subject": "nobody"}, 400),
        ({"reason": ""}, 400),
        ({"reason": "a\nb"}, 400),
        ({"action": "reissue", "subject": "nowhere"}, 400),
    ],
)
def test_the_owner_cannot_be_made_to_do_anything_else(served, change, status):
    served.qualify("ann")
    boss = owner(served)
    data = {
        "csrf": csrf(boss.get("/owner").text), "action": "ban", "subject": "ann", "reason": "x",
    }  # fmt: skip

    assert boss.post("/owner/act", data=data | change).status_code == status
    assert served.desk.board.actions.entries == ()


def test_disputed_pairs_are_shown_and_asked_again(served):
    browsers = [served.qualify(name) for name in ("ann", "bob", "cay")]
    for number, browser in enumerate(browsers):
        while form_token(page := browser.get("/rate").text):
            gold = served.made.gold(task_of(form_token(page)))
            answer(browser, page, str(gold if gold is not None else (0, 3, 3)[number]))
            if number == 0 and served.desk.board.progress("ann", now=time.time()).rated > 8:
                break
    boss = owner(served)
    page = boss.get("/owner").text
    assert "Disputed pairs" in page
    shown = re.findall(r'src="(/owner/i/[^"]+)"', page)
    assert shown
    assert boss.get(shown[0]).headers["content-type"] == "image/jpeg"
    assert boss.get("/owner/i/unknown").status_code == 404
    subject = re.search(r'value="reissue"><input type="hidden" name="subject" value="(\w+)"', page)
    before = served.desk.board.needed(subject[1])
    data = {"csrf": csrf(page), "action": "reissue", "subject": subject[1], "reason": "unclear"}
    assert boss.post("/owner/act", data=data).status_code == 303
    assert served.desk.board.needed(subject[1]) == before + 2
    assert "more ratings were asked for" in boss.get("/owner").text
