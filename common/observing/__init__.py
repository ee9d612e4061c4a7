"""common/observing: what the people who run a daemon see of it: its log and its metrics; nothing of any patient."""
