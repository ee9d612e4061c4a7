"""common/deployment: what both sides agree on before they can talk: start-up kits, certificates, versions."""
