from __future__ import annotations

import re

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.core import mail
from django.urls import reverse
from notifications.models import EmailLog
from users.models import User

pytestmark = pytest.mark.django_db


def test_signing_up_welcomes_and_publishes(post, published, make_user):
    referrer = make_user()

    response = post(
        "users:sign-up",
        {
            "email": "Ann@Example.com",
            "password": "long and strange",
            "locale": "de",
            "referrer": referrer.pk,
        },
    )

    assert response.status_code == 201
    user = referrer.referrals.get()
    assert user.email == "ann@example.com"
    assert user.check_password("long and strange")
    assert [message.to for message in mail.outbox] == [["ann@example.com"]]
    assert published() == [
        (
            "user.signup",
            {
                "userId": user.pk,
                "email": "ann@example.com",
                "locale": "de",
                "referrerId": referrer.pk,
            },
        )
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", f"{'a' * 150}@example.com"),
        ("password", "short"),
        ("referrer", 0),
    ],
)
def test_a_sign_up_with_a_bad_field_is_refused(post, field, value):
    good = {"email": "ann@example.com", "password": "long and strange"}

    response = post("users:sign-up", {**good, field: value})

    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]
    assert not User.objects.exists()


def test_an_address_signs_up_once(post, published):
    form = {"email": "ann@example.com", "password": "long and strange"}

    post("users:sign-up", form)
    response = post("users:sign-up", form)

    assert response.status_code == 409
    assert len(published()) == 1


def test_a_password_reset_is_mailed_and_published(post, published, make_user):
    user = make_user()

    response = post("users:password-reset", {"email": user.email.upper()})

    assert response.status_code == 202
    assert published() == [("user.password-reset", {"userId": user.pk})]
    assert default_token_generator.check_token(user, token_of(mail.outbox[0]))


def token_of(message: mail.EmailMessage) -> str:
    return re.search(r"/reset/\w+/([\w-]+)/", message.body)[1]


def test_staff_read_no_token_of_a_password_reset(
    post, published, make_user, admin_client
):
    post("users:password-reset", {"email": make_user().email})
    token, log = token_of(mail.outbox[0]), EmailLog.objects.get()

    assert token not in repr(published())
    for page in (
        reverse("admin:notifications_emaillog_changelist"),
        reverse("admin:notifications_emaillog_change", args=[log.pk]),
    ):
        assert token not in admin_client.get(page).content.decode()


def test_a_password_reset_answers_alike_for_a_stranger(post, published):
    response = post("users:password-reset", {"email": "nobody@example.com"})

    assert response.status_code == 202
    assert published() == []
    assert mail.outbox == []


def test_a_new_user_gets_a_notification_preference(make_user):
    user = make_user()

    assert user.notification_preference.email
