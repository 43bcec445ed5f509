"""``python -m dekey`` is the command ``dekey``."""

import sys

from dekey.cli import main

if __name__ == "__main__":
    sys.exit(main())
