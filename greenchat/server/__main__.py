"""``python -m greenchat.server PORT``: patch first, then run."""

try:
    from gevent import monkey
except ModuleNotFoundError as error:
    from greenchat.extras import refuse

    refuse(error)

monkey.patch_all()

import os  # noqa: E402 - nothing may be imported before it is patched
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402

from greenchat.config import load  # noqa: E402
from greenchat.errors import ConfigError, StartupError  # noqa: E402
from greenchat.server.app import serve  # noqa: E402
from greenchat.server.stderr import unblock_stderr  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until it is told to stop.

    Returns:
        The exit status: 0 after SIGINT or SIGTERM, 1 if it cannot start, 2 for a wrong setting.
    """
    unblock_stderr()
    try:
        serve(load(sys.argv[1:] if arguments is None else arguments, os.environ))
    except (ConfigError, StartupError) as error:
        print(f"greenchat: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
