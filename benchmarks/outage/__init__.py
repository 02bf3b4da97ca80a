"""Steady load on a server that fails by plan: sleepwalker beside its peers, over real sockets."""
