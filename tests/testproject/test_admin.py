from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

pytestmark = pytest.mark.django_db

APPS = ("users", "payments", "notifications", "reporting")
MODELS = [
    model._meta.label_lower
    for app in APPS
    for model in apps.get_app_config(app).get_models()
]


@pytest.mark.parametrize("label", MODELS)
@pytest.mark.parametrize("page", ["changelist", "add"])
def test_every_model_has_its_pages(admin_client, label, page):
    model = apps.get_model(label)

    assert admin.site.is_registered(model)
    url = reverse(f"admin:{label.replace('.', '_')}_{page}")
    assert admin_client.get(url).status_code == 200


def test_a_user_is_shown_with_the_payments(admin_client, make_payment):
    payment = make_payment()

    page = admin_client.get(reverse("admin:users_user_change", args=[payment.user_id]))

    assert payment.reference in page.content.decode()
