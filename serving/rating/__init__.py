"""The rating application: people judge pairs of pictures, one at a time."""
