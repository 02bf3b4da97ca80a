"""Decisions about calls: no module in here sleeps, touches a socket or reads a clock that it was not given."""
