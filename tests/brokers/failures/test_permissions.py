"""Who may log in, and send what."""

from __future__ import annotations

from django_strangler.brokers import Kind
from django_strangler.brokers.rabbitmq import blame
from tests.brokers.contract import collect, deliver, kinds, until_ready, wait_for
from tests.brokers.failures.common import (
    SECRET,
    events,
    user,
    vhost_of,
)
from tests.brokers.rabbit import with_options


def test_publish_only_credentials_suffice(node, rabbit, make_rabbit, log):
    with user(node, rabbit) as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)

        assert kinds(deliver(broker, events(1, 10))) == {Kind.CONFIRMED}

        assert log.lines == []
    assert set(rabbit.received("all", 10)) == {each.id for each in events(1, 10)}


def test_a_wrong_password_is_said_once_and_corrected_without_a_restart(
    node, rabbit, make_rabbit, log
):
    with user(node, rabbit) as url:
        wrong = "wr0ng-" + SECRET
        broker = make_rabbit(
            with_options(url, password=wrong), exchange=rabbit.exchange
        )
        wait_for(lambda: log.count("refuses the login of 'writer'"))
        broker.send(events(1, 1))
        assert kinds(collect(broker, [1])) == {Kind.UNKNOWN}
        assert "refuses the login" in broker.trouble
        node.ctl("change_password", "writer", wrong)

        assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    assert log.count("refuses the login") == 1
    assert log.count("Correct user and password") == 1
    assert log.count("well again") == 1


def test_a_wrong_vhost_is_said_once_and_waited_for(node, rabbit, make_rabbit, log):
    url = with_options(rabbit.url, path="/not-yet-there")
    broker = make_rabbit(url, exchange=rabbit.exchange)
    wait_for(lambda: log.count("has no virtual host 'not-yet-there'"))
    assert not broker.ready

    node.ctl("add_vhost", "not-yet-there")
    node.ctl("set_permissions", "-p", "not-yet-there", "guest", ".*", ".*", ".*")

    until_ready(broker)
    assert log.count("has no virtual host") == 1
    assert log.count("well again") == 1
    broker.close()
    node.ctl("delete_vhost", "not-yet-there")


def test_a_forbidden_routing_key_is_found_and_held(
    node, rabbit, make_rabbit, log, monkeypatch
):
    monkeypatch.setattr(blame, "HOLD", 1.0)
    with user(node, rabbit, topic=r"^payment\.") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)
        fine = events(1, 300)
        bad = events(301, 320, "secret.leaked")
        mixed = fine[:150] + bad[:10] + fine[150:] + bad[10:]

        until_ready(broker).send(mixed)
        found = collect(broker, [each.row for each in mixed])

        rejected = [each for each in found.values() if each.kind is Kind.REJECTED]
        [only] = rejected
        assert only.row in range(301, 321)
        assert only.final
        assert "secret.leaked" in only.reason
        rest = [each for each in fine if found[each.row].kind is not Kind.CONFIRMED]
        assert kinds(deliver(broker, rest)) <= {Kind.CONFIRMED}
        waiting = [each for each in bad if each.row != only.row]
        broker.send(waiting)
        held = collect(broker, [each.row for each in waiting])
        assert kinds(held) == {Kind.UNKNOWN}
        assert sum(each.reason.startswith("held: ") for each in held.values()) >= 18

        node.ctl(
            *("set_topic_permissions", "-p", vhost_of(rabbit), "writer"),
            *(rabbit.exchange, ".*", ""),
        )

        assert kinds(deliver(broker, waiting)) == {Kind.CONFIRMED}
    assert log.count("may not be sent") == 1
    assert log.count("Give the user write permission") == 1
    assert log.count("may be sent again") == 1
    assert rabbit.ids("all") == {each.id for each in fine + waiting}


def test_only_a_forbidden_type_in_sight_is_found_as_well(node, rabbit, make_rabbit):
    with user(node, rabbit, topic=r"^payment\.") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)

        until_ready(broker).send(events(1, 10, "secret.leaked"))

        found = collect(broker, range(1, 11))
        assert [each.kind for each in found.values()].count(Kind.REJECTED) == 1
        assert kinds(found) == {Kind.REJECTED, Kind.UNKNOWN}
        assert kinds(deliver(broker, events(11, 20))) == {Kind.CONFIRMED}


def test_when_nothing_at_all_may_be_sent_nothing_is_rejected(
    node, rabbit, make_rabbit, log
):
    with user(node, rabbit, write="^nothing$") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)
        until_ready(broker)
        mixed = events(1, 5) + events(6, 10, "user.created")
        broker.send(mixed)
        assert kinds(collect(broker, range(1, 11))) == {Kind.UNKNOWN}
        wait_for(lambda: log.count("refuses every event"))

        node.ctl("set_permissions", "-p", vhost_of(rabbit), "writer", "", ".*", "")

        assert kinds(deliver(broker, mixed)) == {Kind.CONFIRMED}
    assert log.count("refuses every event") == 1
    assert log.count("well again") == 1
