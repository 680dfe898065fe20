"""Torture of sagas: orchestrator and participants with a database each, and no luck."""
