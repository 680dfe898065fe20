"""In a TestCase nothing is written beside its transaction."""

from __future__ import annotations

import threading

from django.test import TestCase

from django_strangler import evidence
from django_strangler.evidence.noting import counts
from django_strangler.models import EvidenceCount


class TestA(TestCase):
    def setUp(self) -> None:
        counts.restart()

    def test_what_is_noted_is_seen(self):
        assert evidence.seen("route:a")["modern"].checked == 0
        evidence.note("route:a")
        assert evidence.seen("route:a")["modern"].checked == 1

    def test_what_is_flushed_is_rolled_back_after_the_test(self):
        assert not EvidenceCount.objects.exists()
        evidence.note("route:a")
        evidence.flush()
        assert EvidenceCount.objects.exists()

    def test_the_next_sees_nothing_of_it(self):
        self.test_what_is_flushed_is_rolled_back_after_the_test()

    def test_no_thread_is_begun(self):
        before = threading.active_count()
        evidence.note("route:a")
        assert threading.active_count() <= before
