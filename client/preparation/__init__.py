"""client/preparation: the chain from a patient's files to the prepared store: steps, workers, resuming, report."""
