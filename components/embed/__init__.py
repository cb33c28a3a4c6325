"""Turns images into unit vectors with the encoder, only where something changed."""
