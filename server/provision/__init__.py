"""server/provision: keys, certificates and start-up kits of a consortium."""
