"""simulation: synthetic cohorts, importers, and the one-machine runner."""
