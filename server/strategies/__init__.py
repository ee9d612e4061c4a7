"""server/strategies: federated optimisers: pure steps from the sites' sums to the next weights."""
