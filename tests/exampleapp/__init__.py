"""An opt-in app that does nothing: it proves that each seam of the core holds."""
