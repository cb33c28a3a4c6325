"""Workers of one machine add up their gradients in memory that they share."""

import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from components.train.exchange import sum_over_workers
from components.train.shared_memory import SharedSums, group_memory

SHAPES = [(3, 5), (), (70,), (2,)]


@pytest.fixture
def memory():
    descriptor = group_memory()
    yield descriptor
    os.close(descriptor)


def together(memory, workers, rounds, brought):
    """Lets workers go through some rounds, each at its own pace; returns what each was given."""
    given = [[] for _ in range(workers)]

    def work(worker):
        sums = SharedSums(memory, worker=worker, workers=workers, shapes=SHAPES)
        pauses = np.random.default_rng(worker)
        for number in range(rounds):
            threading.Event().wait(pauses.exponential(0.001))
            given[worker].append(sums(*brought(worker, number)))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    return given


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_each_worker_gets_the_sums_of_every_round(memory, workers):
    def brought(worker, number):
        rng = np.random.default_rng([worker, number])
        return [np.asarray(rng.standard_normal(shape), np.float32) for shape in SHAPES]

    rounds = 60
    given = together(memory, workers, rounds, brought)
    for number in range(rounds):
        parts = [brought(worker, number) for worker in range(workers)]
        for place, shape in enumerate(SHAPES):
            expected = np.sum([part[place].astype(np.float64) for part in parts], axis=0)
            for worker in range(workers):
                found = given[worker][number][place]
                assert (found.shape, found.dtype) == (shape, np.float32)
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
                # Weights must stay the same everywhere: to the last bit.
                np.testing.assert_array_equal(found, given[0][number][place])


def test_nobody_is_given_a_sum_before_all_have_brought_theirs(memory):
    late = threading.Event()
    sums = [SharedSums(memory, worker=n, workers=2, shapes=[(4,)]) for n in range(2)]
    given = []
    first = threading.Thread(target=lambda: given.extend(sums[0](np.ones(4, np.float32))))
    first.start()
    assert not late.wait(0.1)
    assert not given
    (second,) = sums[1](np.full(4, 2.0, np.float32))
    first.join(timeout=10)
    np.testing.assert_array_equal(second, [3.0] * 4)
    np.testing.assert_array_equal(given[0], [3.0] * 4)


def test_tensorflow_takes_the_sums_as_they_lie(memory):
    given = together(memory, 2, 1, lambda *_: [np.ones(shape, np.float32) for shape in SHAPES])
    assert [found.ctypes.data % 64 for found in given[0][0]] == [0] * len(SHAPES)


def test_gradients_come_back_in_their_order_and_shapes(memory, monkeypatch):
    class Context:
        num_replicas_in_sync = 2

    monkeypatch.setattr(tf.distribute, "get_replica_context", Context)
    fine = 1.0 + 2.0**-20
    results = {}

    def work(worker):
        sums = SharedSums(memory, worker=worker, workers=2, shapes=[(2, 3), (7,), (2,)])

        @tf.function(autograph=False)
        def step(scale):
            tensors = [tf.fill([2, 3], fine * scale), tf.range(7, dtype=tf.float32) * scale]
            flags = tf.stack([0.0, float(worker)])
            return sum_over_workers(tensors, flags, dtype=tf.bfloat16, memory=sums)

        results[worker] = [step(tf.constant(scale)) for scale in (1.0, 2.0)]

    other = threading.Thread(target=work, args=(1,))
    other.start()
    work(0)
    other.join(timeout=30)
    for scale, (gradients, flags, seconds) in zip((1.0, 2.0), results[0], strict=True):
        # Not rounded to bfloat16 on the way.
        np.testing.assert_array_equal(gradients[0], np.full((2, 3), 2 * scale * fine, np.float32))
        np.testing.assert_array_equal(gradients[1], 2 * scale * np.arange(7, dtype=np.float32))
        np.testing.assert_array_equal(flags, [0.0, 1.0])
        assert float(seconds) >= 0
