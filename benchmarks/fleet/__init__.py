"""Workers that share what they know of a host, beside workers that do not: real processes, sockets and stores."""
