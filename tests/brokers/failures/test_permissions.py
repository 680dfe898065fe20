"""Who may log in, and send what."""

from __future__ import annotations

from django_strangler.brokers import Cause, Kind
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
        # Here: once the user is deleted, its login is refused again.
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


def test_a_forbidden_type_is_found_and_nothing_of_it_is_rejected(
    node, rabbit, make_rabbit, log
):
    with user(node, rabbit, topic=r"^payment\.") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)
        fine = events(1, 300)
        bad = events(301, 320, "secret.leaked")
        mixed = fine[:150] + bad[:10] + fine[150:] + bad[10:]

        until_ready(broker).send(mixed)
        found = collect(broker, [each.row for each in mixed])

        told = [found[each.row] for each in bad]
        assert {(each.kind, each.cause) for each in told} == {
            (Kind.UNKNOWN, Cause.FORBIDDEN)
        }
        assert all("secret.leaked" in each.reason for each in told)
        rest = [each for each in fine if found[each.row].kind is not Kind.CONFIRMED]
        assert kinds(deliver(broker, rest)) <= {Kind.CONFIRMED}
        broker.send(bad[:1], probe=True)
        assert collect(broker, [301])[301].cause is Cause.FORBIDDEN
        assert broker.ready

        node.ctl(
            *("set_topic_permissions", "-p", vhost_of(rabbit), "writer"),
            *(rabbit.exchange, ".*", ""),
        )

        assert kinds(deliver(broker, bad)) == {Kind.CONFIRMED}
    assert log.count("may not be sent") == 1
    assert log.count("Give the user write permission") == 1
    assert log.count("are taken again") == 1
    assert rabbit.ids("all") == {each.id for each in fine + bad}


def test_only_a_forbidden_type_in_sight_is_found_as_well(node, rabbit, make_rabbit):
    with user(node, rabbit, topic=r"^payment\.") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)

        until_ready(broker).send(events(1, 10, "secret.leaked"))

        found = collect(broker, range(1, 11))
        assert {each.cause for each in found.values()} == {Cause.FORBIDDEN}
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
