import pytest

from components.train.gpus import share_gpus, visible_gpus, workers_for


@pytest.mark.parametrize(
    ("gpus", "workers", "shares"),
    [
        ([], 2, [[], []]),
        (["0"], 1, [["0"]]),
        (["0", "1"], 2, [["0"], ["1"]]),
        (["0", "1", "2", "3"], 2, [["0", "2"], ["1", "3"]]),
        # A group sums gradients of as many GPUs in each worker.
        (["0", "1", "2"], 2, [["0"], ["1"]]),
        (["0", "1", "2"], 1, [["0", "1", "2"]]),
    ],
)
def test_gpus_are_shared_out(gpus, workers, shares):
    assert share_gpus(gpus, workers) == shares


@pytest.mark.parametrize(
    ("told", "gpus"),
    [
        ("", []),
        ("-1", []),
        ("none", []),
        ("1, 3", ["1", "3"]),
        ("0,-1,2", ["0"]),
        ("GPU-89f9-d72c,MIG-GPU-89f9-d72c/1/0", ["GPU-89f9-d72c", "MIG-GPU-89f9-d72c/1/0"]),
    ],
)
def test_cuda_visible_devices_has_the_last_word(tmp_path, told, gpus):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "nvidia0").touch()
    environment = {"CUDA_VISIBLE_DEVICES": told}
    assert visible_gpus(environment, driver=tmp_path, devices=tmp_path) == gpus


def test_gpus_are_those_that_the_driver_lists_and_that_may_be_opened(tmp_path):
    driver, devices = tmp_path / "driver", tmp_path / "dev"
    devices.mkdir()
    assert visible_gpus({}, driver=driver, devices=devices) == []
    for number in range(4):
        (driver / f"0000:0{number}:00.0").mkdir(parents=True)
    # A container without GPUs sees the driver's list all the same.
    assert visible_gpus({}, driver=driver, devices=devices) == []
    for name in ("nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (devices / name).touch()
    assert visible_gpus({}, driver=driver, devices=devices) == ["0", "1"]


@pytest.mark.parametrize(
    ("gpus", "workers", "batch_size", "expected"),
    [(0, 2, 128, 2), (1, 2, 128, 1), (4, 2, 128, 2), (3, 4, 128, 2), (3, 4, 96, 3), (2, 2, 128, 2)],
)
def test_there_are_no_more_workers_than_gpus(gpus, workers, batch_size, expected):
    names = [str(number) for number in range(gpus)]
    assert workers_for(names, workers=workers, batch_size=batch_size) == expected
