from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("payments/", include("payments.urls")),
    path("users/", include("users.urls")),
    path("notifications/", include("notifications.urls")),
    path("reports/", include("reporting.urls")),
    path("strangler/", include("django_strangler.urls")),
]
