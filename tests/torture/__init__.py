"""Kill everything, lose nothing, and be able to prove it."""
