"""Moves a channel to a bundle that its verdicts allow."""
