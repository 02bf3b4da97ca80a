"""URLs, headers, credentials, proxies and TLS, common to all ways of sending."""
