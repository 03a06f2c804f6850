"""Measures the gateway beside its peers: `make bench`, or `make bench QUICK=1` for the gateway alone."""
