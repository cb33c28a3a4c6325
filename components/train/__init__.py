"""Trains the encoder: a ResNet from scratch on the taxonomy."""
