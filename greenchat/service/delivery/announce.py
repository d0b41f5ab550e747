"""The way out for events to the other nodes: encoded once for each version that they run."""

from __future__ import annotations

from collections.abc import Collection

from greenchat.ports.bus import Bus
from greenchat.service.delivery.node_events import NodeEvent, encode_event, encode_for_former


def announce(bus: Bus, event: NodeEvent, nodes: Collection[str] | None = None) -> None:
    """Tell other nodes of an event.  Never switches.

    Args:
        bus: the way to them.
        event: that has happened here.
        nodes: the names of some of the other nodes; None for all.
    """
    there = bus.nodes() if nodes is None else nodes
    # Empty but for the time of a rolling upgrade: then an event is encoded once.
    former = [name for name in there if name in bus.former] if bus.former else ()
    if former:
        bus.send(former, encode_for_former(event))
        there = [name for name in there if name not in bus.former]
    if there:
        bus.send(there, encode_event(event))
