from django.contrib import admin

from .models import DailySummary


@admin.register(DailySummary)
class DailySummaryAdmin(admin.ModelAdmin):
    list_display = ("day", "signups", "payments", "emails", "stale")
    list_filter = ("stale",)
