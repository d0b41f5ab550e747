"""The log of accounts: logins, failures, registrations, changed passwords and logouts, one line each.

A line never holds a password, token or text.  Names and devices are quoted, with all that is not printable
escaped, so that none can forge a line.
"""

from __future__ import annotations

import logging

from greenchat.service.service import Service

_log = logging.getLogger("greenchat.accounts")


def note(service: Service, address: str, event: str, userid: int | None, name: str, device: str = "") -> None:
    """Write a line about an account.

    Args:
        service: of this node.
        address: ``HOST:PORT`` of the client.
        event: the words that the line begins with.
        userid: the account's; None if it is not known.
        name: the account's name.  A name that nobody has is left out: it may be a mistyped password.
        device: the name of the device.
    """
    if _log.isEnabledFor(logging.INFO):
        whose = "user=unknown" if userid is None else f"user={userid} name={name!r} device={device!r}"
        line = f"{event}: {whose} from={address} node={service.node.name}"
        # What Logger.info does, without three of its calls: each login comes here.
        _log.handle(_log.makeRecord(_log.name, logging.INFO, "", 0, line, (), None))
