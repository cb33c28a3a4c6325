import pytest
import tensorflow as tf

from components.train.event_log import EventLog

RECORD = {
    "epoch": 3, "loss": 1.5, "learning_rate": 0.1, "images_per_second": 240.0,
    "steps_per_second": 1.875, "input_stall_share": 0.021, "scaling_efficiency": 0.9,
    "train": {"leaf": 0.5},
}  # fmt: skip


def test_an_epoch_can_be_read_back_and_is_said(tmp_path, capsys):
    log = EventLog(tmp_path)
    log.add(RECORD, epochs=45)
    log.close()
    (file,) = tmp_path.iterdir()
    found = {
        value.tag: (event.step, float(tf.make_ndarray(value.tensor)))
        for record in tf.data.TFRecordDataset(str(file))
        for event in [tf.compat.v1.Event.FromString(record.numpy())]
        for value in event.summary.value
    }
    assert found["loss"] == (3, 1.5)
    assert found["train/leaf"] == (3, 0.5)
    assert found["steps_per_second"] == (3, 1.875)
    assert found["input_stall_share"] == (3, pytest.approx(0.021))
    assert found["scaling_efficiency"] == (3, pytest.approx(0.9))
    assert "epoch" not in found
    assert "epoch 3 of 45: loss 1.500, 240 images/s, 1.88 steps/s, 2.1% waiting" in (
        capsys.readouterr().err
    )
