"""The clock by which a process times what it was promised."""

from __future__ import annotations

import time

import pytest

from django_strangler import clock


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux has the clock")
def test_a_hold_is_timed_by_a_clock_that_goes_on_while_the_machine_is_suspended():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    now = clock.since_boot()

    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)
