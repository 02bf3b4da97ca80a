"""What the transports for httpx and for httpx2, which have the same names in them, share."""
