"""Changes in doubt: the answer to their COMMIT was lost, so that nobody knows whether they were made.

The client is told 13 and asks again.  Until the truth is known, all that depends on the change is looked up
anew, on every node, as if it had been made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from greenchat.errors import Busy, Uncertain
from greenchat.model.instants import to_instant
from greenchat.service.identity.doubted_names import RECENT
from greenchat.service.service import Service

TRY_AGAIN = 0.5
"""Seconds after which a database that is away is asked again."""


@contextmanager
def doubting(service: Service, forget: Callable[[], object]) -> Iterator[None]:
    """Forget all that depends on the change which the block makes, if it ends in doubt.  May switch.

    Args:
        service: of this node.
        forget: drops it here and at the other nodes.  It is called once more when the database has done
            with the transaction: a value read in between may be from before.
    """
    try:
        yield
    except Uncertain as doubt:
        forget()
        service.later(0, partial(_resolve, service, doubt, forget))
        raise


def _resolve(service: Service, doubt: Uncertain, forget: Callable[[], object]) -> None:
    try:
        doubt.resolve()
    except Busy:
        service.later(TRY_AGAIN, partial(_resolve, service, doubt, forget))
    else:
        forget()


def recently(service: Service) -> str:
    """Return the instant from which on something was made just now."""
    return to_instant(service.clock() - RECENT)
