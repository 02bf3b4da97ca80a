"""Connections to remote machines, and the manager that follows links between them."""
