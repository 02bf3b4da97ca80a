"""Resilient HTTP connections to many hosts."""
