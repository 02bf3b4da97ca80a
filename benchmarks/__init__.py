"""Measurements of sleepwalker beside its peers; README.md says how to run and how to read them."""
