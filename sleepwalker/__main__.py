"""`python -m sleepwalker`: the command line where the script is not on the path."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

from sleepwalker.cli import main


def run() -> NoReturn:
    """Run the command of `sys.argv`, and end the process with its exit code."""
    code = main()
    # All that was imported would be looked through for garbage at the end, a quarter of the time of a short command.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
