"""The survey: what it finds, keeps, sees while code runs, and tells."""
