"""`python -m serving`: the command that containers and infra validation start."""

from __future__ import annotations

import sys

from serving.main import main

if __name__ == "__main__":
    sys.exit(main())
