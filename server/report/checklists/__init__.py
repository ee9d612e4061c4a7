"""server/report: the checklists of journals, filled from the results as far as the program knows the answer."""
