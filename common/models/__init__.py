"""common/models: a frozen logistic model that is handed on: what it is, and the file that it travels in."""
