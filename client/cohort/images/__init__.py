"""client/cohort/images: from a hospital's image files to checked images and masks in the patient's coordinates."""
