"""Wires the steps into a Kubeflow pipeline, compiles it, and runs it."""
