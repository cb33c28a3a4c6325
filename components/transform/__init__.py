"""Turns checked images into training examples with Apache Beam and TensorFlow Transform."""
