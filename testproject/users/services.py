from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from notifications.services import send_password_reset_email, send_welcome_email
from payments.rollout import notifications_moved

from django_strangler import publish_event

from .models import User


@transaction.atomic
def sign_up(
    *,
    email: str,
    password: str,
    phone: str = "",
    locale: str = "en",
    referrer: User | None = None,
) -> User:
    """Create a user, who is known by the address. Raises IntegrityError if taken."""
    user = User.objects.create_user(
        username=email,
        email=email,
        password=password,
        phone=phone,
        locale=locale,
        referrer=referrer,
    )
    moved = notifications_moved(user.pk)
    if not moved:
        transaction.on_commit(lambda: send_welcome_email(user))

    publish_event(
        "user.signup",
        {
            "userId": user.pk,
            "email": user.email,
            "locale": user.locale,
            "referrerId": referrer.pk if referrer else None,
        },
        key=user,
        flags=[moved],
    )
    return user


@transaction.atomic
def request_password_reset(user: User) -> None:
    # Under a lock, so that two requests reach the reader in the order of their tokens.
    user = User.objects.select_for_update().get(pk=user.pk)
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    token = default_token_generator.make_token(user)
    moved = notifications_moved(user.pk)
    if not moved:
        transaction.on_commit(lambda: send_password_reset_email(user, uid, token))

    publish_event(
        "user.password-reset",
        {"userId": user.pk, "email": user.email, "uid": uid, "token": token},
        key=user,
        flags=[moved],
    )
