"""Seeing whether events flow: how things stand, health, metrics and a doctor."""
