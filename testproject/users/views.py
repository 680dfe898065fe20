from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from monolith.api import conflict, once, read_form, refuse

from . import services
from .forms import PasswordResetForm, SignUpForm
from .models import User


@csrf_exempt
@require_POST
@once
def sign_up(request: HttpRequest) -> HttpResponse:
    form = read_form(SignUpForm, request)
    if not form.is_valid():
        return refuse(form)

    try:
        user = services.sign_up(**form.cleaned_data)
    except IntegrityError:
        return conflict("This address is taken.")
    return JsonResponse({"id": user.pk, "email": user.email}, status=201)


@csrf_exempt
@require_POST
def password_reset(request: HttpRequest) -> HttpResponse:
    form = read_form(PasswordResetForm, request)
    if not form.is_valid():
        return refuse(form)

    email = form.cleaned_data["email"]
    for user in User.objects.filter(email__iexact=email, is_active=True):
        services.request_password_reset(user)
    # The same answer for an unknown address: whose accounts exist is nobody's business.
    return JsonResponse({"status": "accepted"}, status=202)
