"""server/export: a trained network for others: a MONAI bundle, ONNX, and a model card."""
