"""``make demo``: the monolith with a page that shows its events on their way."""
