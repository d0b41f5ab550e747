"""The interfaces between the rooms: Peer, Store, Delivery, Bus, and the limits.

Each is specified here once, and proved by one contract test for all its implementations.  The
service sees the world only through them.  What they hand each other is in ``model``.

*May switch*: the call may let other greenlets run before it returns, so a read-modify-write of
shared state must not span it.  A call that is not marked so never switches.
"""
