"""The container image of each step, named by the package's version."""

VERSION = "0.1.0"
TENSORFLOW = f"lookalike/tensorflow:{VERSION}"
SCANN = f"lookalike/scann:{VERSION}"
OPS = f"lookalike/ops:{VERSION}"
SERVING = f"lookalike/serving:{VERSION}"
