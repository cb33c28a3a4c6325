"""The process that runs one step: kfp's own executor, with errors for people kept apart.

Started by the local runner as `python -m pipelines.local.execute_step ERROR_FILE EXECUTOR_ARGS`.
An error that is meant for people is written to ERROR_FILE as one line of JSON, so that the runner
can show it without the traceback around it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from components.contracts.errors import LookalikeError
from components.registry.object_store import OutcomeUnknownError, RateLimitedError

# kfp reads this at import: the executor alone, without the compiler and the clients.
os.environ["_KFP_RUNTIME"] = "true"


def may_pass(error: BaseException | None) -> bool:
    """Whether behind an error is a store that was too busy, or whose answer was lost."""
    while error is not None:
        if isinstance(error, RateLimitedError | OutcomeUnknownError):
            return True
        error = error.__cause__ or error.__context__
    return False


def main(arguments: list[str]) -> int:
    """Runs the step; returns the process's exit code."""
    from kfp.dsl import executor_main  # noqa: PLC0415 - after the variable above

    error_file, *executor_arguments = arguments
    sys.argv = ["executor_main", *executor_arguments]
    try:
        executor_main.executor_main()
    except LookalikeError as error:
        Path(error_file).write_text(
            json.dumps(
                {
                    "message": str(error),
                    "exit_code": error.exit_code,
                    "may_pass": may_pass(error),
                }
            ),
            encoding="utf-8",
        )
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
