"""The monolith of the runs with faults."""
