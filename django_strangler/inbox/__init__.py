"""Subscribers, and the inbox that lets each see an event once."""
