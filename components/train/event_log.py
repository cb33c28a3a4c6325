"""What an epoch came to, for TensorBoard and as a line of the log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf


class EventLog:
    """Writes one set of scalars an epoch, for `tensorboard --logdir`."""

    def __init__(self, directory: Path) -> None:
        """Makes no file yet.

        Args:
            directory: Where the event files go.
        """
        self._directory = directory
        self._writer: tf.summary.SummaryWriter | None = None

    def add(self, record: Mapping[str, Any], *, epochs: int) -> None:
        """Tells of an epoch.

        Args:
            record: What `curves.json` holds of it; nested figures are joined by a slash.
            epochs: How many there will be.
        """
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._directory))
        with self._writer.as_default(step=int(record["epoch"])):
            for name, value in record.items():
                if isinstance(value, Mapping):
                    for part, figure in value.items():
                        _scalar(f"{name}/{part}", figure)
                elif name != "epoch":
                    _scalar(name, value)
        self._writer.flush()
        print(
            f"epoch {record['epoch']} of {epochs}: loss {record['loss']:.3f}, "
            f"{record['images_per_second']:.0f} images/s, "
            f"{record['steps_per_second']:.2f} steps/s, "
            f"{record['input_stall_share']:.1%} waiting for input, "
            f"{record['scaling_efficiency']:.1%} scaling efficiency",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """Ends the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _scalar(tag: str, value: float) -> None:
    # tf.summary.scalar wants TensorBoard installed; what it writes is this.
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    )
    tf.summary.write(tag, tf.constant(value, tf.float32), metadata=metadata)
