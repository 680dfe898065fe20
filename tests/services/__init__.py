"""
Real PostgreSQL, MariaDB and RabbitMQ for tests.

Tests see only the fixtures in `fixtures`. Behind them: `services` and `sources` decide
where a server comes from, `instances` runs private ones, `leftovers` cleans up after a
crash, `databases` and `vhosts` give each test a place of its own, `proxy` breaks the
network.
"""
