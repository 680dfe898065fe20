from django.contrib import admin

from .models import LedgerEntry, Payment, PaymentRequest, Payout, Refund

# Users by number: no query joins them, as payments may move to another database.


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ("reference", "user_id", "amount", "status", "created_at")
    list_filter = ("status", "currency")
    search_fields = ("reference",)
    raw_id_fields = ("user",)


@admin.register(Refund)
class RefundAdmin(admin.ModelAdmin):
    list_display = ("payment", "amount", "reason", "created_at")
    list_select_related = ("payment",)
    raw_id_fields = ("payment",)


@admin.register(Payout)
class PayoutAdmin(admin.ModelAdmin):
    list_display = ("user_id", "amount", "currency", "iban", "paid_at")
    raw_id_fields = ("user",)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(admin.ModelAdmin):
    list_display = ("user_id", "kind", "amount", "currency", "created_at")
    list_filter = ("kind",)
    raw_id_fields = ("user", "payment")


@admin.register(PaymentRequest)
class PaymentRequestAdmin(admin.ModelAdmin):
    list_display = ("key", "scope", "route", "status", "created_at")
    exclude = ("created_at",)  # The database says when.
