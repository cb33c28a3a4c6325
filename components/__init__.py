"""The steps of the Lookalike pipeline, one folder a step, and the contracts between them."""
