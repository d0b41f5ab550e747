"""The client's session, sans I/O: it knows no thread and no socket, so that any shell can run it."""
