"""An app whose routes the benchmark measures."""
