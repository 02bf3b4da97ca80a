"""Sleepwalker beside plain requests: generated exchanges, and the table of all that may differ between the two."""
