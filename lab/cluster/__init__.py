"""A whole cluster on this machine: MariaDB, Redis, servers under supervisord, nginx."""
