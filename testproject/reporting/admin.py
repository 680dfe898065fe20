from django.contrib import admin

from .models import Activity, DailySummary


@admin.register(DailySummary)
class DailySummaryAdmin(admin.ModelAdmin):
    list_display = ("day", "signups", "payments", "emails", "stale")
    list_filter = ("stale",)


@admin.register(Activity)
class ActivityAdmin(admin.ModelAdmin):
    list_display = ("day", "type", "count")
    date_hierarchy = "day"
