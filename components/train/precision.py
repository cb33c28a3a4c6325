"""Which arithmetic the convolutions of a training run use."""

from __future__ import annotations

from pathlib import Path


def resolve_precision(precision: str) -> str:
    """Returns `float32` or `bfloat16`: the latter for `auto` where the processor computes in it."""
    if precision != "auto":
        return precision
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
