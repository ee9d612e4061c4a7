"""server/report: tables, figures and the page of a study, all computed from `results.json`."""
