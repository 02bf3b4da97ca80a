"""Workers that learn from each other: what some found out about a host, all know within a moment."""
