"""client/images: a hospital's image files: found, read, checked."""
