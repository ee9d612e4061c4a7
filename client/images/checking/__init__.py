"""client/images/checking: what is wrong with images and masks, and a page that shows it."""
