"""client/images/reading: from files to an image in the patient's coordinates."""
