from components.embed.layout import Row, Shard, arrange, shard_key


def rows(*names, image="1"):
    return [Row(name, image) for name in names]


def ids(shards, today):
    return [[today[position].key for position in shard.rows] for shard in shards]


def test_the_first_run_cuts_evenly_in_the_order_of_the_ids():
    today = rows("e", "b", "d", "a", "c")
    shards = arrange(today, [], rows_per_shard=4)
    assert ids(shards, today) == [["a", "b"], ["c", "d", "e"]]
    assert all(shard.before is None for shard in shards)
    assert arrange([], [], rows_per_shard=4) == []


def test_what_is_as_it_was_is_the_shard_that_it_was():
    before = [rows("a", "b"), rows("c", "d", "e"), rows("f")]
    today = rows("f", "e", "d", "c", "b", "a")
    shards = arrange(today, before, rows_per_shard=4)
    assert ids(shards, today) == [["a", "b"], ["c", "d", "e"], ["f"]]
    assert [shard.before for shard in shards] == [0, 1, 2]


def test_new_items_touch_no_full_shard():
    before = [rows("b", "d"), rows("f", "h", "i"), rows("k")]
    today = rows("a", "b", "c", "d", "f", "h", "i", "k")
    shards = arrange(today, before, rows_per_shard=4)
    # The small one is put together with what is new.
    assert ids(shards, today) == [["b", "d"], ["f", "h", "i"], ["a", "c", "k"]]
    assert [shard.before for shard in shards] == [0, 1, None]


def test_a_changed_image_and_a_lost_item_touch_their_own_shard_alone():
    before = [rows("a", "b"), rows("c", "d"), rows("e", "f", "g")]
    today = [*rows("a"), Row("b", "2"), *rows("c", "d", "e", "g")]
    shards = arrange(today, before, rows_per_shard=4)
    assert ids(shards, today) == [["a", "b"], ["c", "d"], ["e", "g"]]
    assert [shard.before for shard in shards] == [None, 1, None]


def test_shards_that_have_become_small_are_put_together():
    before = [rows("a", "b", "c", "d"), rows("e", "f", "g", "h"), rows("i", "j", "k", "l")]
    today = rows("b", "f", "i", "j", "k", "l")
    shards = arrange(today, before, rows_per_shard=4)
    assert ids(shards, today) == [["i", "j", "k", "l"], ["b", "f"]]
    assert shards[0] == Shard((2, 3, 4, 5), 2)


def test_smaller_shards_are_made_when_they_are_asked_for():
    before = [rows("a", "b", "c", "d")]
    today = rows("a", "b", "c", "d")
    assert ids(arrange(today, before, rows_per_shard=2), today) == [["a", "b"], ["c", "d"]]


def test_every_item_has_one_place_through_a_month_of_days():
    before, today = [], []
    for day in range(30):
        today = [row for n, row in enumerate(today) if (n + day) % 19] + rows(
            *(f"{day}-{n}" for n in range(9)), image=str(day)
        )
        shards = arrange(today, before, rows_per_shard=8)
        placed = sorted(position for shard in shards for position in shard.rows)
        assert placed == list(range(len(today)))
        assert all(len(shard.rows) <= 8 for shard in shards)
        assert len(shards) <= 2 * len(today) / 8 + 2
        before = [[today[position] for position in shard.rows] for shard in shards]


def test_the_key_hangs_on_everything_that_the_content_hangs_on():
    keys = {
        shard_key(rows("a", "b"), encoder="e", limits="l"),
        shard_key(rows("b", "a"), encoder="e", limits="l"),
        shard_key(rows("a", "b", image="2"), encoder="e", limits="l"),
        shard_key(rows("a", "b"), encoder="e2", limits="l"),
        shard_key(rows("a", "b"), encoder="e", limits="l2"),
    }
    assert len(keys) == 5
