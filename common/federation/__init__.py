"""common/federation: questions and answers between coordinator and sites, and how they travel."""
