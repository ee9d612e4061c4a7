"""simulation/chaos: a deployment that is disturbed on purpose, and what must hold nevertheless."""
