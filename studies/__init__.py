"""studies: the study protocols that are shipped."""
