"""The interfaces between the rooms: peer, store, bus, counters, friends, limits; and those of brokers.

Each is specified here once, and inherited by its implementations.  The service reaches everything outside
only through them.  The records that they exchange are in ``model``.

*May switch*: the call may let other greenlets run before it returns, so a read-modify-write of
shared state must not span it.  A call that is not marked so never switches.
"""
