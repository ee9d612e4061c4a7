"""client/images/finding: which files are whose, and of which phase."""
