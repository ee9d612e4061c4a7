"""simulation: learning: hospitals with drawn ROI stacks, and what a federated network reaches beside others."""
