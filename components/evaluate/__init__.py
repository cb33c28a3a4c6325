"""Measures a candidate bundle against truth and against the incumbent."""
