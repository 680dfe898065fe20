from django.urls import path

from . import views

app_name = "payments"
urlpatterns = [
    path("", views.PaymentList.as_view(), name="list"),
    path("<int:payment_id>/", views.payment_detail, name="detail"),
    path("<int:payment_id>/complete/", views.complete_payment, name="complete"),
    path("<int:payment_id>/fail/", views.fail_payment, name="fail"),
    path("<int:payment_id>/refund/", views.refund_payment, name="refund"),
]
