"""client/release: what leaves the hospital: policy and gate, ledger, reply store."""
