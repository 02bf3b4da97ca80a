"""The driver for threads: each call runs in its caller's thread, and a wait blocks it."""
