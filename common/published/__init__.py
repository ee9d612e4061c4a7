"""common/published: what a study publishes, as both sides read it: results, and how their numbers become text."""
