from __future__ import annotations

import random

import pytest

from serving.rotation import Command, Rotation, State


def ready(answering, spare=1):
    rotation = Rotation(answering)
    for number in range(answering + spare):
        rotation.started(number)
    for number in range(answering + spare):
        assert rotation.has(number, "shop", "v1") == []
        assert rotation.ready(number) == []
    return rotation


def test_the_first_ones_accept_from_their_start_and_the_last_one_stands_by():
    rotation = Rotation(2)
    assert [rotation.started(number) for number in range(3)] == [True, True, False]
    for number in range(3):
        rotation.ready(number)
    answering, resting = State.ANSWERING, State.RESTING
    assert rotation.states() == {0: answering, 1: answering, 2: resting}


def test_one_stands_by_loads_takes_a_place_and_the_next_one_loads():
    rotation = ready(2)
    # An answering worker waits for the one that stands by, whoever asks first.
    assert rotation.asks(0, "shop", "v2") == []
    assert rotation.asks(2, "shop", "v2") == [Command(2, "load", "shop")]
    assert rotation.asks(1, "shop", "v2") == []
    assert rotation.has(2, "shop", "v2") == []
    assert rotation.done(2) == [Command(2, "accept"), Command(0, "load", "shop")]
    rotation.has(0, "shop", "v2")
    assert rotation.done(0) == [Command(0, "accept"), Command(1, "load", "shop")]
    rotation.has(1, "shop", "v2")
    assert rotation.done(1) == []
    answering, resting = State.ANSWERING, State.RESTING
    assert rotation.states() == {0: answering, 1: resting, 2: answering}


def test_a_version_that_cannot_be_loaded_is_tried_once_and_refused_to_the_others():
    rotation = ready(2)
    rotation.asks(0, "shop", "bad")
    rotation.asks(2, "shop", "bad")
    assert rotation.failed(2, "shop", "bad", "it is damaged") == []
    assert rotation.done(2) == [Command(0, "refuse", "shop", "it is damaged")]
    # One that asks later hears the same at once.
    assert rotation.asks(1, "shop", "bad") == [Command(1, "refuse", "shop", "it is damaged")]
    assert set(rotation.states().values()) == {State.ANSWERING, State.RESTING}


def test_what_was_refused_is_asked_for_again_once_it_can_be_loaded():
    rotation = ready(2)
    for number in (2, 0, 1):
        rotation.asks(number, "shop", "v2")
    rotation.failed(2, "shop", "v2", "the disk is full")
    assert {command.kind for command in rotation.done(2)} == {"refuse"}
    assert rotation.asks(2, "shop", "v2") == [Command(2, "load", "shop")]
    assert rotation.has(2, "shop", "v2") == [
        Command(0, "again", "shop"),
        Command(1, "again", "shop"),
    ]
    rotation.done(2)
    assert Command(0, "load", "shop") in rotation.asks(0, "shop", "v2")


def test_channels_are_kept_apart():
    rotation = ready(1)
    rotation.asks(0, "trial", "v2")
    assert rotation.asks(1, "shop", "v2") == [Command(1, "load", "shop")]
    rotation.has(1, "shop", "v2")
    # That it has v2 of the shop's channel says nothing of the trial's.
    assert rotation.done(1) == []
    assert rotation.asks(1, "trial", "v2") == [Command(1, "load", "trial")]


def test_who_gives_up_gets_no_turn():
    rotation = ready(1)
    rotation.asks(0, "shop", "v2")
    rotation.asks(1, "shop", "v2")
    rotation.gives_up(0, "shop")
    rotation.has(1, "shop", "v2")
    assert rotation.done(1) == []


def test_the_one_that_stands_by_answers_when_another_dies_and_the_new_one_stands_by():
    rotation = ready(1)
    assert rotation.gone(0) == [Command(1, "accept")]
    assert rotation.started(0) is False
    rotation.has(0, "shop", "v1")
    assert rotation.ready(0) == []
    assert rotation.states() == {0: State.RESTING, 1: State.ANSWERING}


def test_one_that_loads_answers_when_there_is_nobody_else():
    rotation = ready(1)
    rotation.asks(1, "shop", "v2")
    assert rotation.gone(0) == [Command(1, "accept")]
    assert rotation.started(0) is False
    rotation.has(1, "shop", "v2")
    assert rotation.done(1) == []
    rotation.has(0, "shop", "v2")
    assert rotation.ready(0) == []
    assert rotation.states() == {0: State.RESTING, 1: State.ANSWERING}


def test_a_new_worker_waits_until_it_can_answer_where_another_answers():
    rotation = ready(2, spare=0)
    assert rotation.gone(0) == []
    assert rotation.started(0) is False
    assert rotation.ready(0) == [Command(0, "accept")]


def test_the_only_worker_accepts_at_once_so_that_probes_hear_of_it():
    rotation = ready(1, spare=0)
    rotation.gone(0)
    assert rotation.started(0) is True


def test_one_that_dies_in_its_turn_does_not_hold_up_the_others():
    rotation = ready(1)
    rotation.asks(0, "shop", "v2")
    rotation.asks(1, "shop", "v2")
    rotation.gone(1)
    rotation.started(1)
    # It has loaded what is live before it was ready.
    rotation.has(1, "shop", "v2")
    assert rotation.ready(1) == [Command(1, "accept"), Command(0, "load", "shop")]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_enough_answer_nobody_loads_while_it_answers_and_all_get_there(seed):
    """A made-up life of the workers, with messages that cross each other and deaths."""
    draw = random.Random(seed)
    answering = draw.choice((1, 2, 3))
    rotation = Rotation(answering)
    numbers = range(answering + 1)
    live = 1
    has = dict.fromkeys(numbers, 0)
    accepting = {}
    # What a worker is about: "" nothing, "asked", "loading", or "starting".
    about = dict.fromkeys(numbers, "starting")
    inbox: list[Command] = []
    for number in numbers:
        accepting[number] = rotation.started(number)

    def obey(commands):
        inbox.extend(commands)

    def take(command):
        number = command.worker
        if command.kind == "accept":
            accepting[number] = True
        elif command.kind == "load":
            accepting[number] = False
            if about[number] == "asked":
                about[number] = "loading"
            else:
                obey(rotation.done(number))

    def step(number):
        if about[number] == "starting":
            has[number], about[number] = live, ""
            obey(rotation.has(number, "shop", f"v{live}"))
            obey(rotation.ready(number))
        elif about[number] == "loading":
            # Only where another has died.
            assert seed % 2 or not accepting[number]
            has[number], about[number] = live, ""
            obey(rotation.has(number, "shop", f"v{live}"))
            obey(rotation.done(number))
        elif about[number] == "" and has[number] != live:
            about[number] = "asked"
            obey(rotation.asks(number, "shop", f"v{live}"))
        elif about[number] == "asked" and draw.random() < 0.1:
            about[number] = ""
            obey(rotation.gives_up(number, "shop"))

    def settle():
        for _ in range(400):
            while inbox:
                take(inbox.pop(0))
            for number in numbers:
                step(number)

    settle()
    for _ in range(200):
        chance = draw.random()
        if chance < 0.03 and seed % 2 and "starting" not in about.values():
            victim = draw.choice(list(numbers))
            inbox[:] = [command for command in inbox if command.worker != victim]
            obey(rotation.gone(victim))
            accepting[victim], about[victim] = rotation.started(victim), "starting"
        elif chance < 0.1:
            live += 1
        elif chance < 0.5 and inbox:
            take(inbox.pop(0))
        else:
            step(draw.choice(list(numbers)))
        assert list(about.values()).count("loading") <= 1
        # Where nobody dies there are never too few, whatever message is still on its way.
        assert seed % 2 or "starting" in about.values() or sum(accepting.values()) >= answering
    settle()
    assert set(has.values()) == {live}
    assert sum(accepting.values()) == answering
    states = list(rotation.states().values())
    assert states.count(State.ANSWERING) == answering
    assert {number for number in numbers if accepting[number]} == {
        number for number, state in rotation.states().items() if state is State.ANSWERING
    }
