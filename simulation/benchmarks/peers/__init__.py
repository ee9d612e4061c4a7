"""simulation: benchmarks: peers: the same logistic regression by established tools, on four real centres."""
