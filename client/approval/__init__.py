"""client/approval: what a hospital decides and signs: which studies, after what it was shown, and who leaves them."""
