"""Lets people judge a candidate and decides with stated error guarantees."""
