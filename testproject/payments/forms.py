from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.utils.module_loading import import_string
from users.models import User

from .models import Currency


class PaymentForm(forms.Form):
    user = forms.ModelChoiceField(User.objects.filter(is_active=True))
    amount = forms.DecimalField(
        max_digits=12, decimal_places=2, min_value=Decimal("0.01")
    )
    currency = forms.ChoiceField(choices=Currency.choices)
    reference = forms.CharField(max_length=64, required=False)

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if "user" in data and "amount" in data:
            for path in settings.PAYMENT_CHECKS:
                if objection := import_string(path)(data["user"], data["amount"]):
                    self.add_error("amount", objection)
        return data


class FailureForm(forms.Form):
    reason = forms.CharField(max_length=200)


class RefundForm(forms.Form):
    amount = forms.DecimalField(
        max_digits=12, decimal_places=2, min_value=Decimal("0.01")
    )
    reason = forms.CharField(max_length=200, required=False)
