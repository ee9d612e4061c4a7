"""client/cohort: the site's folder: its configuration, tables, checks and prepared store."""
