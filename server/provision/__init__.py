"""server/provision: keys, certificates and start-up kits of a consortium."""

SOON_DAYS = 60
"""What expires within so many days is told."""
