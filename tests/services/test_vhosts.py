"""Each test has a place of its own on RabbitMQ."""

from __future__ import annotations

from contextlib import closing

import pika
import pika.exceptions
import pytest

from .leftovers import mark
from .rabbitmq import SharedRabbitMQ
from .vhosts import BATCH, Vhosts


def channel(url: str) -> pika.BlockingConnection:
    return closing(pika.BlockingConnection(pika.URLParameters(url)))


@pytest.mark.parametrize("time", ["first", "second"])
def test_a_vhost_is_empty_each_time(vhost, time) -> None:
    with channel(vhost.url) as connection:
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
            connection.channel().queue_declare("orders", passive=True)
        connection.channel().queue_declare("orders", durable=True)


def test_a_vhost_of_its_own_needs_no_special_names(vhost) -> None:
    assert vhost.own("orders") == "orders"


def test_used_vhosts_are_deleted_with_the_next_batch(rabbitmq) -> None:
    vhosts = Vhosts(rabbitmq)
    used = []
    for _ in range(BATCH + 1):
        with vhosts.fresh() as vhost:
            used.append(vhost.url.rpartition("/")[2])

    left = rabbitmq.ctl("list_vhosts").split()
    vhosts.close()

    assert not set(used[:BATCH]) & set(left)
    assert used[-1] not in rabbitmq.ctl("list_vhosts").split()


def test_vhosts_of_dead_runs_are_swept(rabbitmq) -> None:
    host = mark().rpartition("_")[0].rpartition("_")[0]
    rabbitmq.ctl("add_vhost", f"{host}_1_1_1")
    vhosts = Vhosts(rabbitmq)

    with vhosts.fresh():
        left = rabbitmq.ctl("list_vhosts").split()

    vhosts.close()
    assert f"{host}_1_1_1" not in left


def test_where_nobody_can_make_one_names_are_unique_and_deleted(rabbitmq) -> None:
    out_of_reach = SharedRabbitMQ(url=rabbitmq.url, origin="another machine")
    out_of_reach.has_ctl = False

    with Vhosts(out_of_reach).fresh() as vhost, channel(vhost.url) as connection:
        queue = vhost.own("orders")
        connection.channel().queue_declare(queue, durable=True)

    assert queue != "orders"
    assert queue not in rabbitmq.ctl("list_queues", "name").split()
