"""Which arithmetic the convolutions of a training run use."""

from __future__ import annotations

from pathlib import Path


def resolve_precision(precision: str) -> str:
    """Returns `float32` or `bfloat16`: the latter for `auto` where the hardware computes in it.

    Where there are GPUs they decide: from compute capability 8.0 (Ampere) on they do.
    """
    if precision != "auto":
        return precision
    # TensorFlow is imported where it is needed: it takes seconds.
    import tensorflow as tf  # noqa: PLC0415

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return "bfloat16" if details.get("compute_capability", (0, 0)) >= (8, 0) else "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
