"""Rights to a database file: passwords' hashes, the secret of the tokens and people's messages are in it."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress

OTHERS = stat.S_IRWXG | stat.S_IRWXO

log = logging.getLogger(__name__)


def keep_private(path: str) -> None:
    """Make a database file, and SQLite's files beside it, readable by its owner alone.

    A server makes it so; one that was restored or copied has the rights that the umask of that moment left.
    """
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(name).st_mode)
            if mode & OTHERS:
                _take_away(name, mode)


def _take_away(name: str, mode: int) -> None:
    try:
        os.chmod(name, mode & ~OTHERS)
    except PermissionError:
        log.warning("others have rights to %s (mode %o), and it is not ours to change: chmod 600", name, mode)
    else:
        log.warning("others had rights to %s (mode %o): it is its owner's alone now", name, mode)
