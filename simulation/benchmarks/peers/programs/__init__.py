"""simulation: benchmarks: peers: programs that run in a peer's own environment, with nothing of FedMVI."""
