"""client/radiomics: the features of an image in a region."""
