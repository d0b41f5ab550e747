"""The SQL of the store, one module a subject: plain functions on a connection."""
