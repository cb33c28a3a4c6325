import errno
import os

import pytest

from components.contracts.errors import InputError, LookalikeError, full_disk_told


@full_disk_told("transform")
def failing(error):
    raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/part-00002"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/data/part-00002"),
        RuntimeError("Traceback\n  ...\nResourceExhaustedError: /data/part-00002; No space left on "
                     "device [while running 'Prepare']"),
    ],
)  # fmt: skip
def test_a_full_disk_is_told_whoever_met_it(error):
    with pytest.raises(LookalikeError, match=r"transform: the disk is full \(.*part-00002") as told:
        failing(error)
    assert "\n" not in str(told.value)
    assert told.value.__cause__ is error


@pytest.mark.parametrize("error", [InputError("No space left on device"), ValueError("wrong")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as told:
        failing(error)
    assert told.value is error
