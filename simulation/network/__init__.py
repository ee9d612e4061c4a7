"""simulation/network: a whole deployment on one machine: provisioned, enrolled and started by the real commands."""
