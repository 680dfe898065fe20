from django.contrib import admin

from .models import EmailLog, NotificationPreference, Receipt


@admin.register(NotificationPreference)
class NotificationPreferenceAdmin(admin.ModelAdmin):
    list_display = ("user", "email", "sms")
    list_select_related = ("user",)
    raw_id_fields = ("user",)


@admin.register(EmailLog)
class EmailLogAdmin(admin.ModelAdmin):
    list_display = ("message_id", "recipient", "subject", "status", "attempts")
    list_filter = ("status",)
    raw_id_fields = ("user", "payment")
    exclude = ("body",)  # That of a password reset holds its token.


@admin.register(Receipt)
class ReceiptAdmin(admin.ModelAdmin):
    list_display = ("message_id", "payment", "user", "channel", "created_at")
    list_select_related = ("user",)
    raw_id_fields = ("payment", "user")
