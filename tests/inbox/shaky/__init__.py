"""An app whose subscriber fails now and then, for relays of their own processes."""
