"""Committed entries on their way to the devices online: here, and over the bus at the other nodes."""
