"""Programs of a package that was installed without its dependencies: the client library alone needs one."""

from __future__ import annotations

import sys
from typing import NoReturn


def refuse(error: ModuleNotFoundError) -> NoReturn:
    """End the program with a sentence about the package that it lacks.

    Args:
        error: of the import.

    Raises:
        ModuleNotFoundError: a module of ours is missing; that is a bug.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "greenchat"):
        raise error
    sys.exit(f"greenchat: the package {package} is missing: install greenchat with its dependencies")
