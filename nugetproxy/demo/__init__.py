"""The demo: an upstream, a proxy and a client on this machine, with nothing of the network."""
