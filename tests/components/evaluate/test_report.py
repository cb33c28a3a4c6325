def test_the_report_shows_pictures_and_stays_small(world):
    _, live = world.bundle("live", quality=0.5)
    embeddings, bundle = world.bundle()
    world.evaluate(embeddings, bundle, incumbent=live)
    page = (world.root / "evaluation.html").read_text()
    assert page.count("<img") > 50
    assert "(was " in page
    assert "Most changed answers" in page
    assert "Worst answers" in page
    assert "change since the incumbent, by department" in page
    assert page.index("checks hold") < page.index("Shopper photos") < page.index("<details>")
    assert len(page) < 2_000_000
    assert 'src="http' not in page
    assert "Seating" in page


def test_the_report_says_when_nothing_changed(world):
    embeddings, bundle = world.bundle()
    world.evaluate(embeddings, bundle, incumbent=bundle)
    assert "No answer changed" in (world.root / "evaluation.html").read_text()


def test_pictures_that_are_gone_do_not_stop_the_report(world):
    embeddings, bundle = world.bundle()
    for path in world.checked.glob("*.png"):
        path.unlink()
    world.evaluate(embeddings, bundle)
    assert "(no picture)" in (world.root / "evaluation.html").read_text()
