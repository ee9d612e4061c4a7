"""server/hub: the hub of a consortium: its folder, its processes, its runs."""
