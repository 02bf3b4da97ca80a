"""`python -m benchmarks`: every benchmark there is."""

from __future__ import annotations

import sys

from benchmarks.get_json import main

sys.exit(main())
