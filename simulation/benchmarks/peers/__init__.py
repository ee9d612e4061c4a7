"""simulation: benchmarks: peers: regressions and survival by established tools and by FedMVI, on real patients."""
