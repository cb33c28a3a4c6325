"""Gradients are summed over the workers once, each at the precision that it was computed in."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from components.train.exchange import sum_over_workers

# Two replicas need two devices, which a process can only ask for before it uses any.
_TWO_REPLICAS = """
import json
import keras
import tensorflow as tf
from components.train.exchange import SharedSGD, sum_over_workers

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    weight = keras.Variable([0.0, 0.0])
    optimizer = SharedSGD(1.0)
    optimizer.build([weight])

def step():
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    gradient = tf.cast(number + 1, tf.float32) * tf.constant([1.0, 10.0])
    kernel = tf.reshape(gradient, [1, 1, 1, 2])
    (gradient, kernel), seconds = sum_over_workers([gradient, kernel], short=[False, True])
    optimizer.apply_gradients([(gradient, weight)])
    return kernel, seconds

kernels, seconds = map(
    strategy.experimental_local_results, tf.function(lambda: strategy.run(step))()
)
weights = strategy.experimental_local_results(weight.value)
print(json.dumps({
    "weights": [value.numpy().tolist() for value in weights],
    "kernels": [value.numpy().tolist() for value in kernels],
    "seconds": [float(value) for value in seconds],
}))
"""


def test_one_worker_keeps_what_it_has():
    tensors = [tf.constant([1.00001]), tf.constant([[2.0]])]
    result, seconds = sum_over_workers(tensors, short=[True, False])
    assert float(seconds) == 0.0
    assert all(ours is theirs for ours, theirs in zip(result, tensors, strict=True))


def test_two_replicas_step_once_by_the_sum_of_their_gradients():
    done = subprocess.run(
        [sys.executable, "-c", _TWO_REPLICAS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    # The replicas' gradients are (1, 10) and (2, 20).
    assert result["weights"] == [[-3.0, -30.0]] * 2
    assert result["kernels"] == [[[[[3.0, 30.0]]]]] * 2
    assert all(seconds > 0 for seconds in result["seconds"])


@pytest.mark.parametrize("workers", [2, 4])
def test_what_is_short_is_rounded_and_everything_else_is_not(monkeypatch, workers):
    class Context:
        num_replicas_in_sync = workers

        def all_reduce(self, operation, flat):
            assert operation == tf.distribute.ReduceOp.SUM
            messages.append(flat)
            return flat * tf.cast(workers, flat.dtype)

    messages: list[tf.Tensor] = []
    monkeypatch.setattr(tf.distribute, "get_replica_context", Context)
    fine = 1.0 + 2.0**-12
    tensors = [tf.fill([2, 3], fine), tf.fill([1, 1, 2, 2], fine), tf.fill([], 2 * fine)]
    result, _ = sum_over_workers(tensors, short=[False, True, False])
    assert [tensor.shape for tensor in result] == [tensor.shape for tensor in tensors]
    np.testing.assert_array_equal(result[0], np.full((2, 3), workers * fine, np.float32))
    np.testing.assert_array_equal(result[1], np.full((1, 1, 2, 2), workers, np.float32))
    np.testing.assert_array_equal(result[2], np.float32(2 * workers * fine))
    assert [(message.dtype, message.shape[0]) for message in messages] == [
        (tf.bfloat16, 4),
        (tf.float32, 7),
    ]
