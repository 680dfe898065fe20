from django.db import transaction
from notifications.services import send_password_reset_email, send_welcome_email
from payments.rollout import notifications_moved

from django_strangler import publish_event

from .contracts import PasswordResetRequested, UserSignedUp
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
        UserSignedUp(
            userId=user.pk,
            email=user.email,
            locale=user.locale,
            referrerId=referrer.pk if referrer else None,
        ),
        key=user,
        flags=[moved],
    )
    return user


@transaction.atomic
def request_password_reset(user: User) -> None:
    moved = notifications_moved(user.pk)
    # Without the token: an event is read by more people than the user's mail is.
    event = publish_event(
        PasswordResetRequested(userId=user.pk), key=user, flags=[moved]
    )
    if not moved:
        transaction.on_commit(lambda: send_password_reset_email(user, str(event.id)))
