"""The program in each worker: `python -m components.train --spec FILE`.

SIGTERM is blocked before anything else is loaded: the threads that numpy and TensorFlow start
inherit that, so that the thread which waits for the signal is the one that gets it.
"""

import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

from components.train.worker import main  # noqa: E402

sys.exit(main())
