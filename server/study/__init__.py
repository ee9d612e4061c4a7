"""server/study: the study's steps in order, each a small module with a pure core."""
