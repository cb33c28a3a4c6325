"""Workers for a Beam engine in tests, in a process that is warm before the engine asks for one.

An engine gives a worker a minute to report; importing TensorFlow on a busy machine takes longer.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

import components.embed.pipeline
import components.transform.pipeline  # noqa: F401


def main() -> None:
    port, ready = int(sys.argv[1]), Path(sys.argv[2])
    server = BeamFnExternalWorkerPoolServicer.start(port=port, use_process=False)
    ready.touch()
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
