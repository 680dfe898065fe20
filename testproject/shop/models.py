from django.db import models


class Order(models.Model):
    """What a customer wants. Until its saga has ended, nobody may count on it."""

    class Status(models.TextChoices):
        PENDING = "pending"
        CONFIRMED = "confirmed"
        CANCELLED = "cancelled"

    item = models.CharField(max_length=50)
    count = models.PositiveIntegerField()
    buyer = models.CharField(max_length=50)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    status = models.CharField(
        max_length=16, choices=Status.choices, default=Status.PENDING
    )
    reason = models.CharField(max_length=500, blank=True)

    def __str__(self) -> str:
        return f"{self.count} {self.item} for {self.buyer}"


class Item(models.Model):
    """The stock's."""

    name = models.CharField(max_length=50, unique=True)
    left = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.name


class Account(models.Model):
    """The bank's."""

    owner = models.CharField(max_length=50, unique=True)
    available = models.DecimalField(max_digits=12, decimal_places=2)
    held = models.DecimalField(max_digits=12, decimal_places=2, default=0)

    def __str__(self) -> str:
        return self.owner


class Entry(models.Model):
    """One thing that was done for an order; lines are added, never changed."""

    order = models.BigIntegerField()
    what = models.CharField(max_length=16)
    amount = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta:
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.order}: {self.what}"
