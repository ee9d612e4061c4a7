"""common: what a hospital and the coordinator must agree on; no hospital files, no Flower server or client."""
