"""``greenchat-admin``: commands of an operator to a running server, over its Unix socket."""
