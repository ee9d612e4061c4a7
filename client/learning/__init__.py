"""client/learning: local training and scoring of the network, and what of it stays at the site."""
