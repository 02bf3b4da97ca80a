"""Sending with aiohttp: one session a connection, and a socket that knows when to go."""
