from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.page, name="demo"),
    path("demo/state/", views.state, name="demo-state"),
    path("demo/pay/", views.pay, name="demo-pay"),
    path("demo/rollout/", views.rollout, name="demo-rollout"),
    path("demo/relay/", views.relay, name="demo-relay"),
    path("demo/traffic/", views.traffic, name="demo-traffic"),
    path("demo/bug/", views.bug_switch, name="demo-bug"),
    path("demo/texts/", views.texts_switch, name="demo-texts"),
    path("demo/tables/", views.tables, name="demo-tables"),
    path("", include("monolith.urls")),
]
