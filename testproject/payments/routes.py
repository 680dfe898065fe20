"""What the payments service may take, where there is one."""

from django.conf import settings

from django_strangler.facade import route

if settings.PAYMENTS_SERVICE_URL:
    route(
        "payments-api",
        "/payments/",
        service="payments",
        flag="payments-v2",
        idempotent=True,  # Both sides know one another's keys.
    )
