"""``python -m greenchat.admin``."""

import sys

from greenchat.admin.program import main

if __name__ == "__main__":
    sys.exit(main())
