"""The consumer: takes deliveries from a queue and sees each to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from django_strangler import conf
from django_strangler.brokers.base import Source
from django_strangler.exceptions import BrokerError

from .consumer_row import ConsumerRow
from .retrying import IN_PLACE
from .settlement import Delivered, Settlement, Totals
from .subscribers import Subscriber, registry
from .workers import Crew, Worker

TICK = 0.1  # How often to look at threads and pauses, in seconds.
FLUSH = 10.0  # How long to wait in the end for copies to be confirmed,
FAREWELL = 1.0  # and for the database.


class Consumer:
    """
    Has the threads, and looks after them; ``Settlement`` has the deliveries.

    Driven by one thread, which has the heartbeat and never calls a subscriber.
    """

    def __init__(
        self,
        source: Source,
        *,
        subscribers: Sequence[Subscriber] | None = None,
        threads: int = 4,
        delays: Sequence[float] | None = None,  # As the queue has them.
        beside_newer: bool = False,  # Also take what others alone know in full.
        settings: conf.Settings | None = None,
        stop: threading.Event | None = None,
        tick: float = TICK,
        in_place: Sequence[float] = IN_PLACE,
    ) -> None:
        self.settings = settings or conf.current()
        self.source = source
        self.stop = stop or threading.Event()
        self.on_progress: Callable[[Totals], object] = lambda totals: None
        mine = registry.all() if subscribers is None else subscribers
        self._row = ConsumerRow(source, mine)
        self._settlement = Settlement(
            source,
            mine,
            self.settings,
            delays=source.queue.retry_delays if delays is None else delays,
            others=None if beside_newer else self._row.lacking,
            in_place=in_place,
        )
        self._dispatch = self._settlement.dispatch
        self._crew = Crew(
            threads,
            self._make_worker,
            self._settlement.gave_up,
            self.settings.handler_timeout,
        )
        self._tick_length = tick

    @property
    def totals(self) -> Totals:
        """What it has done since it started."""
        return self._settlement.totals

    def run(self) -> None:
        """Consume until asked to stop, then finish what is in hand."""
        try:
            self._crew.start()
            self.source.open(self._settlement.arrived)
            self._row.start()
            while not self.stop.wait(self._tick_length):
                self._tick()
                if self.source.refusal:
                    raise BrokerError(self.source.refusal)
        finally:
            self._end()

    def _make_worker(self) -> Worker[Delivered]:
        return Worker(self._dispatch, self._settlement.span, self._settlement.report)

    def _tick(self) -> None:
        self._dispatch.resume(time.monotonic())
        self._crew.watch()
        self.on_progress(self.totals)

    def _end(self) -> None:
        self.source.pause()
        self._dispatch.dismiss(self._crew.size)
        while self._crew.is_at_work:
            self._crew.watch(replace=False)
            threading.Event().wait(0.01)
        self.source.close(FLUSH)
        self._row.leave(FAREWELL)
        self.on_progress(self.totals)
