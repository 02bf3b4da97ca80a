"""`python -m benchmarks`: what a call costs."""

from __future__ import annotations

import sys

from benchmarks.speed.command import main

sys.exit(main())
