"""simulation: benchmarks: what the product costs, beside what people would use instead, measured in one run."""
