from django.contrib import admin

from .models import LedgerEntry, Payment, Payout, Refund


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ("reference", "user", "amount", "currency", "status", "created_at")
    list_filter = ("status", "currency")
    list_select_related = ("user",)
    search_fields = ("reference", "user__email")
    raw_id_fields = ("user",)


@admin.register(Refund)
class RefundAdmin(admin.ModelAdmin):
    list_display = ("payment", "amount", "reason", "created_at")
    list_select_related = ("payment",)
    raw_id_fields = ("payment",)


@admin.register(Payout)
class PayoutAdmin(admin.ModelAdmin):
    list_display = ("user", "amount", "currency", "iban", "paid_at")
    list_select_related = ("user",)
    raw_id_fields = ("user",)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(admin.ModelAdmin):
    list_display = ("user", "kind", "amount", "currency", "created_at")
    list_filter = ("kind",)
    list_select_related = ("user",)
    raw_id_fields = ("user", "payment")
