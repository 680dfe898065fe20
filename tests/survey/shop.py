"""A project with every kind of tie, each written by hand into the list below."""
# ruff: noqa: E501

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

FILES = {
    "conf/__init__.py": "",
    "conf/settings.py": """
        from pathlib import Path
        BASE_DIR = Path(__file__).resolve().parents[1]
        SECRET_KEY = "for-tests-only"
        INSTALLED_APPS = [
            "django.contrib.auth", "django.contrib.contenttypes",
            "django_strangler", "django_strangler.survey",
            "orders", "stock", "people", "base",
        ]
        DATABASES = {"default": {
            "ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3",
        }}
        ROOT_URLCONF = "conf.urls"
        TEMPLATES = [{
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True, "DIRS": [BASE_DIR / "templates"],
        }]
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        STRANGLER = {"DOMAINS": {"billing": ["base.Invoice"]}}
        PRICE_RULES = {"default": ["stock.reports.Report"]}
    """,
    "conf/urls.py": """
        from django.urls import include, path
        from stock import views
        urlpatterns = [path("stock/", include("stock.urls")), path("home/", views.item)]
    """,
    "shared.py": "def helper(): pass\n",
    "orders/__init__.py": "",
    "orders/apps.py": """
        from django.apps import AppConfig
        class OrdersConfig(AppConfig):
            name = "orders"
            def ready(self):
                from . import receivers
    """,
    "orders/models.py": '''
        """Says stock.Item in a docstring, which ties nothing."""
        from django.db import models
        class Order(models.Model):
            items = models.ManyToManyField("stock.Item", related_name="orders")
            person = models.ForeignKey("people.Person", models.PROTECT)
            person.extra = "not a field"
        class StockRow(models.Model):
            class Meta:
                managed = False
                db_table = "stock_item"
    ''',
    "orders/receivers.py": """
        from django.db.models.signals import post_save
        from django.dispatch import receiver
        def heard(**kwargs): pass
        post_save.connect(heard, sender="people.Person")
        @receiver(post_save, sender="orders.Order")
        def own(**kwargs): pass
        def connect():
            from stock.signals import sold
            sold.connect(heard)
        connect()
    """,
    "orders/lookups.py": """
        import logging
        from django.apps import apps
        from django.conf import settings
        from django.shortcuts import redirect
        from django.urls import reverse
        from shared import helper
        logger = logging.getLogger("stock.reports")
        def get_class(module, name): pass
        Report = get_class("stock.reports", "Report")
        Person = apps.get_model("people", "person")
        rules = getattr(settings, "PRICE_RULES", None)
        unknown = "stock.reports.nothing", "stock.v2", "example.com"
        def view(request):
            request.user.has_perm("stock.change_item")
            reverse("stock:item")
            return redirect("orders-of-nobody")
        def late():
            from stock import reports
            from stock.reports import *
            import stock.views
    """,
    "orders/rows.py": '''
        from django.db import connection
        from .models import Order
        def sql(column):
            with connection.cursor() as cursor:
                cursor.execute(f"""
                    SELECT {column}
                    FROM people_person
                """)
                cursor.execute("DELETE FROM orders_order WHERE id = 1")
            return "Take from stock_item what you like"
        def back(order: Order, item):
            order.person.notes.all()
            item.orders.all()
            return Order.objects.filter(person__cards__number=1)
        def nothing(thing):
            return thing.cards, thing.notes
    ''',
    "orders/tests/test_orders.py": "from stock.views import item\n",
    "orders/old/migrations/first.py": "import stock.models\n",
    "orders/templates/orders/order.html": """
        {% extends "stock/base.html" %}{% load stock_tags %}
        {# {{ item.name }} #}
        {% url 'stock:item' %} {{ order.person.name }} {{ item.title }} {{ form.name }}
        {% if request.user.email %}{{ "person.name" }}{% endif %}
    """,
    "stock/__init__.py": "",
    "stock/models.py": """
        from django.contrib.contenttypes.fields import GenericRelation
        from django.db import models
        class Item(models.Model):
            name = models.CharField(max_length=9)
            notes = GenericRelation("people.Note")
        class Count(Item):
            pass
    """,
    "stock/signals.py": "from django.dispatch import Signal\nsold = Signal()\n",
    "stock/reports.py": "class Report: pass\n",
    "stock/urls.py": """
        from django.urls import path
        from . import views
        app_name = "stock"
        urlpatterns = [path("item/", views.item, name="item")]
    """,
    "stock/views.py": """
        from orders.models import Order
        def item(request):
            for order in Order.objects.all():
                order.person.card_set.all()
    """,
    "stock/templatetags/__init__.py": "",
    "stock/templatetags/stock_tags.py": "from django.template import Library\n"
    "register = Library()\n",
    "stock/templates/stock/base.html": "{% include 'stock/part.html' %}",
    "stock/templates/stock/part.html": "",
    "stock/broken.py": "def broken(:\n",
    "people/__init__.py": "",
    "people/models.py": """
        from django.contrib.contenttypes.fields import GenericForeignKey
        from django.contrib.contenttypes.models import ContentType
        from django.db import models
        class Person(models.Model):
            name = models.CharField(max_length=9)
        class Note(models.Model):
            kind = models.ForeignKey(ContentType, models.CASCADE)
            key = models.BigIntegerField()
            about = GenericForeignKey("kind", "key")
            person = models.ForeignKey(Person, models.CASCADE, related_name="notes")
    """,
    "base/__init__.py": "",
    "base/models.py": """
        from django.db import models
        class Card(models.Model):
            number = models.IntegerField()
            person = models.ForeignKey("people.Person", models.CASCADE,
                                       related_query_name="cards")
        class Invoice(models.Model):
            card = models.ForeignKey(Card, models.CASCADE)
            def people(self):
                from people.models import Person
    """,
    "base/views.py": "from .models import Card, Invoice\n",
}

# From, to, kind, where, what.
TIES = {
    ("orders", "stock", "many-to-many", "orders/models.py:5", "orders.Order.items: stock.Item"),
    ("orders", "people", "foreign key", "orders/models.py:6", "orders.Order.person: people.Person"),
    ("orders", "stock", "same table", "orders/models.py:8", "orders.StockRow: stock.Item"),
    ("orders", "people", "name in a string", "orders/receivers.py:5", "people.Person"),
    ("orders", "people", "signal", "orders/receivers.py:4", "post_save of people.Person: heard"),
    ("orders", "stock", "import", "orders/receivers.py:9", "stock.signals.sold"),
    ("orders", "stock", "signal", "orders/receivers.py:4", "sold: heard"),
    ("orders", "shared", "import", "orders/lookups.py:7", "shared.helper"),
    ("orders", "stock", "name in a string", "orders/lookups.py:10", "stock.reports.Report"),
    ("orders", "people", "name in a string", "orders/lookups.py:11", "people.Person"),
    ("orders", "stock", "setting", "orders/lookups.py:12", "PRICE_RULES: stock.reports.Report"),
    ("orders", "stock", "name in a string", "orders/lookups.py:15", "stock.change_item"),
    ("orders", "stock", "url", "orders/lookups.py:16", "url stock:item"),
    ("orders", "stock", "import", "orders/lookups.py:19", "stock.reports"),
    ("orders", "stock", "import", "orders/lookups.py:20", "stock.reports.*"),
    ("orders", "stock", "import", "orders/lookups.py:21", "stock.views"),
    ("orders", "people", "raw SQL", "orders/rows.py:8", "people_person"),
    ("orders", "base", "reverse accessor", "orders/rows.py:15", "people.Person.card_set: base.Card"),
    ("orders", "stock", "template", "orders/templates/orders/order.html:2", "stock/base.html"),
    ("orders", "stock", "template", "orders/templates/orders/order.html:2", "tags stock_tags"),
    ("orders", "stock", "url", "orders/templates/orders/order.html:4", "url stock:item"),
    ("orders", "people", "template", "orders/templates/orders/order.html:4", "people.Person"),
    ("stock", "people", "generic relation", "stock/models.py:6", "Item.notes: people.Note"),
    ("stock", "orders", "import", "stock/views.py:2", "orders.models.Order"),
    ("stock", "base", "reverse accessor", "stock/views.py:5", "people.Person.card_set: base.Card"),
    ("stock", "people", "foreign key in the database", "database default", "stock_item.owner: people_person"),
    ("base", "people", "foreign key", "base/models.py:5", "base.Card.person: people.Person"),
    ("billing", "base", "foreign key", "base/models.py:8", "base.Invoice.card: base.Card"),
    ("billing", "people", "import", "base/models.py:10", "people.models.Person"),
    ("base", "billing", "import", "base/views.py:1", "base.models.Invoice"),
}  # fmt: skip


def write(folder: Path) -> None:
    """The project's files, and its database with a key that no model knows."""
    for name, source in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = source.split("\n")
        path.write_text(
            "\n".join(line[8:] if line[:8] == " " * 8 else line for line in lines)
        )
    manage(folder, "migrate", "--run-syncdb", "--verbosity=0")
    with sqlite3.connect(folder / "db.sqlite3") as database:
        database.execute(
            "ALTER TABLE stock_item ADD COLUMN owner bigint REFERENCES people_person (id)"
        )
    database.close()


def manage(folder: Path, *words: str, code: int = 0) -> str:
    """Run ``manage.py``; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "django", *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "DJANGO_SETTINGS_MODULE": "conf.settings",
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def survey(folder: Path) -> dict[str, Any]:
    """What it says for programs."""
    said = manage(folder, "strangler_survey", "--json")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(said)[0]
    return found
