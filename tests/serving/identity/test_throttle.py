from __future__ import annotations

from serving.identity.throttle import Throttle


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_few_failures_are_free_then_each_doubles_the_wait():
    clock = Clock()
    throttle = Throttle(free=3, longest_seconds=10, clock=clock)
    waits = []
    for _ in range(8):
        throttle.failed("10.0.0.1")
        waits.append(throttle.wait("10.0.0.1"))
    assert waits == [0, 0, 1, 2, 4, 8, 10, 10]
    assert throttle.wait("10.0.0.2") == 0
    clock.now = 10.0
    assert throttle.wait("10.0.0.1") == 0


def test_success_and_time_are_forgiving():
    clock = Clock()
    throttle = Throttle(free=1, forget_seconds=100, clock=clock)
    throttle.failed("a")
    throttle.succeeded("a")
    assert throttle.wait("a") == 0
    for _ in range(5):
        throttle.failed("a")
    assert throttle.wait("a") == 16
    clock.now = 101.0
    throttle.failed("a")
    assert throttle.wait("a") == 1


def test_a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_its_own():
    throttle = Throttle(free=1)
    throttle.failed("2001:db8::1")
    assert throttle.wait("2001:db8::ffff") > 0
    assert throttle.wait("2001:db8:0:1::1") == 0
    throttle.failed("::ffff:10.0.0.1")
    assert throttle.wait("10.0.0.1") > 0


def test_memory_is_bounded():
    throttle = Throttle(free=1, kept=3)
    for number in range(10):
        throttle.failed(f"10.0.0.{number}")
    waiting = [number for number in range(10) if throttle.wait(f"10.0.0.{number}")]
    assert waiting == [7, 8, 9]
