"""``python -m greenchat.client HOST PORT``."""

from __future__ import annotations

import sys

from greenchat.client.terminal.program import main

sys.exit(main())
