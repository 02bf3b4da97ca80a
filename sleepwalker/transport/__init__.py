"""What sends: requests, made ready once and then driven attempt by attempt."""
