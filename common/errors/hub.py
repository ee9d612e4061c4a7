"""common/errors: 745-759: the coordinator's hub and the runs that are handed to it."""

from __future__ import annotations

from common.errors.text import ErrorText

ERRORS: dict[int, ErrorText] = {
    745: ErrorText(
        "The hub is not running.", "Start it with `fedmvi-server start`, then look at `fedmvi-server status`."
    ),
    746: ErrorText("Another process already runs this hub.", "Use that one, or end it before you start the hub again."),
    747: ErrorText(
        "nginx is not installed, and without it the hub may not be reached from outside.",
        "Install it (Debian: `apt install nginx-light`), then start the hub again.",
    ),
    748: ErrorText("The hub's {part} does not start.", "Read what is said beside it, and mend the cause."),
    749: ErrorText(
        "Port {port} is already in use.", "End what listens there, or give the hub another port in hub.toml."
    ),
    750: ErrorText("There is no run '{name}' at this hub.", "Take a name that `fedmvi-server status` lists."),
    751: ErrorText(
        "The run '{name}' is {state}, so it cannot be {asked}.",
        "See `fedmvi-server status`; a run that was stopped or has failed goes on with `fedmvi-server resume {name}`.",
    ),
    752: ErrorText(
        "'{name}' cannot name a run.",
        "Use up to 64 small letters, digits and hyphens, and begin with a letter or digit.",
    ),
    753: ErrorText(
        "The study asks the site '{site}', which has no enrolment at this hub.",
        "Mend the name in the study, or provision the site and install the new hub kit.",
    ),
    754: ErrorText(
        "The run was interrupted {count} times in a row without getting further.",
        "Read the run's log and the hub's logs, mend the cause, then resume the run.",
    ),
    755: ErrorText(
        "The run lost its connection to the hub's SuperLink.",
        "Nothing needs to be done: the hub takes the run up again by itself.",
    ),
    756: ErrorText(
        "The hub was asked to work on a run that it did not hand in.",
        "Submit studies with `fedmvi-server submit`; find out who else uses this machine.",
    ),
    757: ErrorText(
        "The code of a run differs from what is installed at the hub.",
        "Start the hub again after an update of FedMVI, then resume the run.",
    ),
    759: ErrorText(
        "The key of the site '{site}' cannot be registered.",
        "Rotate the site's key with `fedmvi-server rotate`, and install the new kits at the site and at the hub.",
    ),
}
