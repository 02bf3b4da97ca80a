"""Sending with aiohttp: one session per connection, and sockets that close in time."""
