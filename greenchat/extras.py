"""Programs of a package that was installed without what they need: the client library alone needs little."""

from __future__ import annotations

import sys
from typing import NoReturn


def refuse(error: ModuleNotFoundError, extra: str) -> NoReturn:
    """End the program with a sentence about the package that it lacks.

    Args:
        error: of the import.
        extra: extra of ``setup.py`` that has the program's packages.

    Raises:
        ModuleNotFoundError: a module of ours is missing; that is a bug.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "greenchat"):
        raise error
    sys.exit(f"greenchat: the package {package} is missing: pip install 'greenchat[{extra}]' has all of them")
