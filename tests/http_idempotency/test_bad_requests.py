"""Bad headers and bodies: each is answered with a problem that says what to do."""

from __future__ import annotations

import pytest
from django.test import override_settings

from django_strangler.http_idempotency import idempotent
from django_strangler.http_idempotency.keys import read_key
from django_strangler.http_idempotency.models import IdempotentRequest
from django_strangler.http_idempotency.problems import Problem

from .calling import effects, pay, post, problem

BAD_KEYS = {
    "empty": "",
    "spaces": "   ",
    "a tab": "\t",
    "two quotes": '""',
    "one quote": '"',
    "not closed": '"order-17',
    "closed twice": '"order"-17"',
    "something behind": '"order-17" x',
    "a parameter": '"order-17";version=1',
    "two headers": "order-17, order-18",
    "two headers alike": "order-17,order-17",
    "two quoted headers": '"order-17", "order-18"',
    "a space inside": "order 17",
    "a quoted space": '"order 17"',
    "a tab inside": "order\t17",
    "a newline": "order\n17",
    "a carriage return": "order\r17",
    "a NUL": "order\0",
    "a control character": "order\x7f",
    "Latin-1": "straße",
    "UTF-8 read as Latin-1": "straße".encode().decode("latin-1"),
    "a no-break space": "order\xa017",
    "an unknown escape": '"order\\17"',
    "an escape at the end": '"order\\"',
    "256 characters": "k" * 256,
    "256 quoted characters": f'"{"k" * 256}"',
    "a megabyte": "k" * 1_000_000,
    "a single comma": ",",
}
BOUNDARY = "multipart/form-data; boundary=abc"
BAD_BODIES = {
    "no boundary": ("multipart/form-data", b"--abc", "body-invalid"),
    "a boundary of bytes": (
        "multipart/form-data; boundary=\xff",
        b"--abc",
        "body-invalid",
    ),
    "too large": ("application/json", b"x" * 1001, "body-too-large"),
    "too many fields": (
        BOUNDARY,
        b"".join(
            b"--abc\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n"
            for _ in range(11)
        )
        + b"--abc--\r\n",
        "body-invalid",
    ),
    "a field that is too large": (
        BOUNDARY,
        b"--abc\r\nContent-Disposition: form-data; name=a\r\n\r\n"
        + b"x" * 1001
        + b"\r\n--abc--\r\n",
        "body-too-large",
    ),
}


@pytest.mark.parametrize("header", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_bad_key_is_a_problem_and_nothing_runs(sqlite_rolled_back, header):
    request = post(key=None)
    request.META["HTTP_IDEMPOTENCY_KEY"] = header

    response = idempotent(pay)(request)

    assert (response.status_code, problem(response)) == (400, "key-invalid")
    assert len(response.content) < 1000
    assert effects(sqlite_rolled_back) == 0


@pytest.mark.parametrize(
    ("content_type", "body", "type"), BAD_BODIES.values(), ids=BAD_BODIES
)
@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000, DATA_UPLOAD_MAX_NUMBER_FIELDS=10)
def test_a_bad_body_is_a_problem_and_nothing_runs(
    sqlite_rolled_back, content_type, body, type
):
    response = idempotent(pay)(post(body=body, content_type=content_type))

    assert problem(response) == type
    assert response.status_code in (400, 413)
    assert effects(sqlite_rolled_back) == 0


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("order-17", "order-17"),
        ('"order-17"', "order-17"),
        ('  "order-17"\t', "order-17"),
        ('"a,b"', "a,b"),
        (r'"a\"b\\c"', r"a\"b\\c".replace(r"\"", '"').replace(r"\\", "\\")),
        ('a"b', 'a"b'),
        ("k" * 255, "k" * 255),
        (f'"{"k" * 255}"', "k" * 255),
        ("!#$%&'()*+-./:;<=>?@[]^_`{|}~", "!#$%&'()*+-./:;<=>?@[]^_`{|}~"),
        ("0", "0"),
        (None, None),
    ],
)
def test_a_good_key_is_read_as_it_is(header, key):
    assert read_key(header) == key


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\x00", b"[" * 100_000])
def test_a_body_that_only_the_view_can_judge_reaches_it(quick_db_of_keys, body):
    view = idempotent(pay)
    view(post(body=body))

    assert "Idempotent-Replayed" in view(post(body=body))
    assert IdempotentRequest.objects.using(quick_db_of_keys).count() == 1


def test_each_type_is_a_uri_of_its_own():
    types = {each.type for each in Problem}

    assert len(types) == len(Problem)
    assert all(type.startswith("urn:django-strangler:idempotency:") for type in types)
