from django.urls import path

from . import views

app_name = "notifications"
urlpatterns = [
    path("users/<int:user_id>/", views.user_notifications, name="user"),
]
