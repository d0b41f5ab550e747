"""Sockets: the listener, one greenlet a connection, and the heartbeat that ends dead ones.

Bytes come in and frames go out here; the service knows the meaning of a frame.  The seam between the
two is ``Session`` (connection.py) in one direction and ``ports.Peer`` in the other.
"""
