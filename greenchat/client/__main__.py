"""``python -m greenchat.client HOST PORT``, and the command ``greenchat``."""

from __future__ import annotations

import sys

from greenchat.extras import refuse

try:
    from greenchat.client.terminal.program import main
except ModuleNotFoundError as error:
    refuse(error)

if __name__ == "__main__":
    sys.exit(main())
