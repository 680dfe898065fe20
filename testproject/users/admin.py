from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from payments.models import Payment

from .models import KycCheck, User


class PaymentInline(admin.TabularInline):
    model = Payment
    fields = ("reference", "amount", "currency", "status")
    readonly_fields = fields
    extra = 0
    can_delete = False


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    list_display = ("username", "email", "locale", "referrer", "is_staff")
    list_select_related = ("referrer",)
    raw_id_fields = ("referrer",)
    inlines = (PaymentInline,)
    fieldsets = (
        *(DjangoUserAdmin.fieldsets or ()),
        ("Profile", {"fields": ("phone", "locale", "referrer")}),
    )


@admin.register(KycCheck)
class KycCheckAdmin(admin.ModelAdmin):
    list_display = ("user", "status", "provider_reference", "checked_at")
    list_filter = ("status",)
    raw_id_fields = ("user",)
