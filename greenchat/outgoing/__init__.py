"""Deliveries from this server to other servers: outgoing hooks."""
