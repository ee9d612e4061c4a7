"""simulation: benchmarks: a bare Flower app, as the documentation writes one: empty messages, empty replies."""
