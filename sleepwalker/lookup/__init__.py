"""How a connection is found: decisions and tables, without threads, sockets and connections."""
