"""client/images/masks: from files to a mask on its image."""
