"""common: errors of the program at a hospital that answers (the node), 720-729, by number."""

from __future__ import annotations

from common.errors.text import ErrorText

ERRORS: dict[int, ErrorText] = {
    720: ErrorText(
        "The code that was delivered with a run is not packed as FedMVI packs it, and was not looked at further.",
        "Submit studies with `fedmvi-server submit` only; if you did, report it.",
    ),
    721: ErrorText(
        "The installed Flower is {found}, and this program was made for Flower {wanted}.",
        "Install FedMVI again, with the versions that it asks for.",
    ),
    722: ErrorText(
        "A node runs already for this site's folder.",
        "End the other `fedmvi-site start` first; `store/node.json` has its process id.",
    ),
    723: ErrorText(
        "The work on a message was ended from outside before there was an answer.",
        "Look in the site's log for why, such as a lack of memory; a run that is resumed asks again.",
    ),
    724: ErrorText(
        "An installation that `site.toml` lists cannot be used.",
        "Correct or remove it in `installations` of `[node]`; it must be the Python of an environment with FedMVI.",
    ),
    725: ErrorText(
        "Another installation of FedMVI at the site, whose code the run needs, ended without an answer.",
        "Look in the site's log for why; a run that is resumed asks again.",
    ),
    726: ErrorText(
        "A message is not of a kind that a site answers.", "Submit studies with `fedmvi-server submit` only."
    ),
    727: ErrorText("The node runs on Linux only.", "Start it on a Linux machine, or in a container."),
    728: ErrorText(
        "The command is typed as root, and the folder belongs to another user, as whom its daemon runs.",
        "Type it as that user: the daemon could not read what root writes there.",
    ),
}
