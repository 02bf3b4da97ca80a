"""`python -m benchmarks.fleet`."""

from __future__ import annotations

import sys

from benchmarks.fleet.command import main

sys.exit(main())
