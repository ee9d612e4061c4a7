"""common/flower: Flower's processes as both daemons run them: environment, supervision, tasks."""
