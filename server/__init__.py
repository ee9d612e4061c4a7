"""server: runs at the coordinator: the study's steps, the journal, the report."""
