"""How a training group can end badly, wherever it runs."""

from components.contracts.errors import LookalikeError


class WorkerError(LookalikeError):
    """A training process ended before its work was done."""


class CancelledError(LookalikeError):
    """The step was told to stop."""
