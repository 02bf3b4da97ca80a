"""Sending with requests and urllib3: made ready once per connection, then driven attempt by attempt."""
