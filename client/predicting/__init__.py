"""client/predicting: predictions for the hospital's own patients with a model that was handed on."""
