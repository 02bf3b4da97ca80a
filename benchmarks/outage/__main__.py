"""`python -m benchmarks.outage`."""

from __future__ import annotations

import sys

from benchmarks.outage.command import main

sys.exit(main())
