import contextlib

import keras
import numpy as np

from components.train.checkpoints import Checkpoints
from components.train.resnet import build_resnet
from components.train.run_state import RunState


class Workers:
    """As many workers as there are sets of statistics; this is the first of them."""

    scope = contextlib.nullcontext

    def __init__(self, *others):
        self.num_replicas_in_sync = 1 + len(others)
        self._others = others

    def sums(self, own):
        return own + sum(np.append(other, 1.0) for other in self._others)


def state(tmp_path):
    network = build_resnet(
        depth=10, width=4, embedding_dim=8, channel_mean=[0.0] * 3, channel_std=[1.0] * 3
    )
    optimizer = keras.optimizers.SGD()
    optimizer.build(network.trainable_variables)
    return network, RunState(network, [], optimizer, Checkpoints(tmp_path, keep=1))


def flat(variables):
    return np.concatenate([variable.numpy().ravel() for variable in variables])


def test_the_statistics_become_the_mean_of_all_workers(tmp_path):
    network, run = state(tmp_path)
    trained = flat(network.trainable_variables)
    own = flat(network.non_trainable_variables)
    workers = Workers(own + 3.0, own + 6.0)
    run.share_statistics(workers, workers.sums)
    np.testing.assert_allclose(flat(network.non_trainable_variables), own + 3.0, rtol=1e-6)
    np.testing.assert_array_equal(flat(network.trainable_variables), trained)


def test_one_worker_asks_nobody(tmp_path):
    _, run = state(tmp_path)
    run.share_statistics(Workers(), None)
