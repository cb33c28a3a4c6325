"""Gradients are summed over the workers once, in two messages, in the precision of the run."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.train.exchange import SharedSGD, late_gradients, sum_over_workers

# Three replicas need three devices, which a process can only ask for before it uses any.
_THREE_REPLICAS = """
import json
import keras
import numpy as np
import tensorflow as tf
from components.train.exchange import SharedSGD, figures_over_workers, sum_over_workers

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])
with strategy.scope():
    weight = keras.Variable([0.0, 0.0])
    optimizer = SharedSGD(1.0)
    optimizer.build([weight])

def step():
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    gradient = tf.cast(number + 1, tf.float32) * tf.constant([1.0, 10.0])
    kernel = tf.reshape(gradient, [1, 1, 1, 2])
    flags = tf.stack([tf.cast(number > 0, tf.float32), 0.0])
    (kernel, gradient), flags, seconds = sum_over_workers(
        [kernel, gradient], flags, dtype=tf.float32
    )
    optimizer.apply_gradients([(gradient, weight)])
    return kernel, flags, seconds

kernels, flags, seconds = map(
    strategy.experimental_local_results, tf.function(lambda: strategy.run(step))()
)
weights = strategy.experimental_local_results(weight.value)
print(json.dumps({
    "weights": [value.numpy().tolist() for value in weights],
    "kernels": [value.numpy().tolist() for value in kernels],
    "flags": [value.numpy().tolist() for value in flags],
    "seconds": [float(value) for value in seconds],
    "figures": figures_over_workers(strategy)(np.array([0.1, 2.0**40 + 1])).tolist(),
}))
"""


def test_one_worker_keeps_what_it_has():
    tensors = [tf.constant([1.00001]), tf.constant([[2.0]])]
    own = tf.constant([0.0, 1.0])
    result, flags, seconds = sum_over_workers(tensors, own, dtype=tf.bfloat16)
    assert float(seconds) == 0.0
    assert flags is own
    assert all(ours is theirs for ours, theirs in zip(result, tensors, strict=True))


def test_three_replicas_step_once_by_the_sum_of_their_gradients():
    done = subprocess.run(
        [sys.executable, "-c", _THREE_REPLICAS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    # The replicas' gradients are (1, 10), (2, 20) and (3, 30).
    assert result["weights"] == [[-6.0, -60.0]] * 3
    assert result["kernels"] == [[[[[6.0, 60.0]]]]] * 3
    # Two of them raised the first flag.
    assert result["flags"] == [[2.0, 0.0]] * 3
    assert all(seconds > 0 for seconds in result["seconds"])
    # All are this one worker's: its figures count once, and as exactly as they came.
    assert result["figures"] == [0.1, 2.0**40 + 1]


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float32])
def test_the_last_layers_go_first_and_all_in_one_precision(monkeypatch, workers, dtype):
    class Context:
        num_replicas_in_sync = workers

        def all_reduce(self, operation, flat):
            assert operation == tf.distribute.ReduceOp.SUM
            messages.append(flat)
            return flat * tf.cast(workers, flat.dtype)

    messages: list[tf.Tensor] = []
    monkeypatch.setattr(tf.distribute, "get_replica_context", Context)
    fine = 1.0 + 2.0**-12
    tensors = [tf.fill([2, 3], fine), tf.fill([1, 1, 50, 2], fine), tf.fill([], 2 * fine)]
    result, flags, _ = sum_over_workers(tensors, tf.constant([1.0, 0.0]), dtype=dtype)
    assert [tensor.shape for tensor in result] == [tensor.shape for tensor in tensors]
    kept = 1.0 if dtype == tf.bfloat16 else fine
    for tensor, value in zip(result, [kept, kept, 2 * kept], strict=True):
        np.testing.assert_array_equal(tensor, np.full(tensor.shape, workers * value, np.float32))
    np.testing.assert_array_equal(flags, [workers, 0])
    assert [(message.dtype, message.shape[0]) for message in messages] == [(dtype, 101), (dtype, 8)]


@pytest.mark.parametrize(
    ("sizes", "late"),
    [([1, 9, 90], 2), ([2, 9, 90], 1), ([50, 50], 0), ([100], 0), ([5, 5, 5, 85, 100], 3)],
)
def test_a_tenth_of_the_numbers_at_most_goes_last(sizes, late):
    assert late_gradients(sizes) == late


@pytest.mark.parametrize("options", [{"nesterov": True}, {"nesterov": False}, {"momentum": 0.0}])
def test_a_step_is_kerass_own(options):
    rng = np.random.default_rng(3)
    start = rng.normal(size=(4, 3)).astype(np.float32)
    weights = []
    for kind in (SharedSGD, keras.optimizers.SGD):
        weight = keras.Variable(start)
        optimizer = kind(0.1, **{"momentum": 0.9, **options})
        optimizer.build([weight])
        weights.append((weight, optimizer))
    for rate in (0.1, 0.2, 0.05):
        gradient = tf.constant(rng.normal(size=(4, 3)), tf.float32)
        for weight, optimizer in weights:
            optimizer.learning_rate.assign(rate)
            optimizer.apply_gradients([(gradient, weight)])
    (ours, our_optimizer), (theirs, their_optimizer) = weights
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    for mine, kerass in zip(our_optimizer.variables, their_optimizer.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), kerass.numpy(), rtol=1e-6)
