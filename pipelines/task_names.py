"""The names of all tasks: those of the data's way, and those after the gates."""

STEPS = (
    "catalog",
    "transform",
    "train",
    "embed",
    "index",
    "evaluate",
    "human_eval",
    "promote",
)
"""In the order of the data; each is a folder in `components/`."""

TASK_NAMES = (
    *STEPS[:-1],
    "judge",
    "gates",
    "promote",
    "refused",
    "undecided",
    "notify",
)
"""Every task of either pipeline, as profiles name them."""
