"""The network of a relay, to RabbitMQ or to the database, and of the consumers."""

from __future__ import annotations

import random
import time

from tests.services.proxy import Proxy
from tests.torture.stage import CONFIRM_TIMEOUT, Stage

from . import Bite, fault
from .processes import at_work, until


def _relay(stage: Stage, chance: random.Random) -> tuple[int, int]:
    """The place of a relay, and its window."""
    relay = chance.choice(at_work(stage))
    return relay.place, relay.window


def _cut(proxy: Proxy, *windows: int) -> Bite:
    until(lambda: proxy.connections, 60)  # The fault before may have taken them.
    open_now = proxy.connections
    proxy.cut()
    return Bite(f"{open_now} connections reset" if open_now else "", windows)


@fault("cut a relay off RabbitMQ", outage=True)
def cut_broker(stage: Stage, chance: random.Random) -> Bite:
    place, window = _relay(stage, chance)
    return _cut(stage.to_broker[place], window)


@fault("cut a relay off the database", outage=True)
def cut_database(stage: Stage, chance: random.Random) -> Bite:
    place, window = _relay(stage, chance)
    return _cut(stage.to_database[place], window)


@fault("cut the consumers' network")
def cut_consumers(stage: Stage, chance: random.Random) -> Bite:
    return _cut(stage.to_consumers)


@fault("no network to RabbitMQ", outage=True)
def refuse(stage: Stage, chance: random.Random) -> Bite:
    place, window = _relay(stage, chance)
    proxy = stage.to_broker[place]
    proxy.refuse()
    is_off = proxy.connections == 0
    time.sleep(chance.uniform(1, 4))
    proxy.heal()
    return Bite("no connection stayed" if is_off else "", (window,))


@fault("a black hole on the way to RabbitMQ", outage=True)
def black_hole_up(stage: Stage, chance: random.Random) -> Bite:
    return _black_hole(stage, chance, "up")


@fault("a black hole on the way from RabbitMQ", outage=True)
def black_hole_down(stage: Stage, chance: random.Random) -> Bite:
    return _black_hole(stage, chance, "down")


def _black_hole(stage: Stage, chance: random.Random, direction: str) -> Bite:
    place, window = _relay(stage, chance)
    relay = next(each for each in stage.crew.of("relay") if each.place == place)
    proxy = stage.to_broker[place]
    proxy.black_hole(direction)  # type: ignore[arg-type]
    time.sleep(CONFIRM_TIMEOUT + 2)
    pending = stage.database.pending_in_lanes(relay.name)
    proxy.heal()
    # The old connection, and the one that was tried meanwhile.
    return Bite(f"{pending} events pending" if pending else "", (window,))


@fault("a black hole on the way from the database", outage=True)
def black_hole_database(stage: Stage, chance: random.Random) -> Bite:
    """The relay's lease runs out, whatever its own clock thinks of the silence."""
    place, window = _relay(stage, chance)
    relay = next(each for each in stage.crew.of("relay") if each.place == place)
    stage.to_database[place].black_hole("down")
    gone = until(lambda: stage.database.lanes_of(relay.name) == 0, 10)
    stage.to_database[place].heal()
    return Bite("others took its lanes over" if gone else "", (window,))


@fault("a slow network")
def delay(stage: Stage, chance: random.Random) -> Bite:
    """Nothing is lost, so nothing may be repeated."""
    import pika

    place, _ = _relay(stage, chance)
    proxies = (stage.to_broker[place], stage.to_database[place])
    for proxy in proxies:
        proxy.delay(0.03)
    started = time.monotonic()
    url = stage.rabbitmq.url.replace(f":{stage.rabbitmq.port}/", f":{proxies[0].port}/")
    pika.BlockingConnection(pika.URLParameters(url)).close()
    took = time.monotonic() - started
    time.sleep(chance.uniform(2, 4))
    for proxy in proxies:
        proxy.heal()
    return Bite(f"to connect took {took:.2f} s" if took > 0.2 else "")
