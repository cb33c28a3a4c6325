"""Builds the ScaNN index and the bundle around it."""
