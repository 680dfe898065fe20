from django import forms
from django.contrib.auth.password_validation import validate_password

from .models import User


class SignUpForm(forms.Form):
    # As long as a user name may be: the address is the name.
    email = forms.EmailField(max_length=150)
    password = forms.CharField(max_length=128, strip=False)
    phone = forms.CharField(max_length=32, required=False)
    locale = forms.CharField(max_length=10, required=False, empty_value="en")
    referrer = forms.ModelChoiceField(User.objects.all(), required=False)

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        return email.lower()

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password)
        return password


class PasswordResetForm(forms.Form):
    email = forms.EmailField()
