"""simulation: benchmarks: what people would use instead, each on its library's own fast documented path."""
