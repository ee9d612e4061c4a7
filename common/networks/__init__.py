"""common/networks: the convolutional network on ROI stacks: its shape, its layers, and its weights as one vector."""
