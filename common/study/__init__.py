"""common/study: the protocol, the dictionary of clinical variables, recipes and fingerprints."""
