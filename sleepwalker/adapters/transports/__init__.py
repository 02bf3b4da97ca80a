"""What the transports for httpx and httpx2 share. Both libraries use the same names."""
