"""`python -m benchmarks.aio`."""

from __future__ import annotations

import sys

from benchmarks.aio.command import main

sys.exit(main())
