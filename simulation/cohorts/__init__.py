"""simulation/cohorts: simulated hospitals: clinical tables, follow-up, expression, and the truth behind them."""
