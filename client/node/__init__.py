"""client/node: a hospital in the network: its enrolment, its connection to the hub, and the processes that answer."""
