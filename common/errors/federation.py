"""common/errors: 5xx: the federation."""

from common.errors.text import ErrorText

ERRORS = {
    501: ErrorText("A message cannot be decoded.", "Check that all parties run the same FedMVI version."),
    502: ErrorText(
        "The code at the site differs from the coordinator's.", "Install the same FedMVI version everywhere."
    ),
    503: ErrorText("The site '{site}' did not answer.", "Check that its daemon runs, then resume the run."),
    504: ErrorText(
        "A number is outside the range that can be summed exactly.",
        "Check the units of the data at the site that is named; of a network, its version of FedMVI.",
    ),
    505: ErrorText(
        "An answer is not one that the query can have: another shape or kind, or numbers that cannot be true.",
        "Check that all parties, the site that is named first, run the same FedMVI version; if they do, report it.",
    ),
    506: ErrorText(
        "The site could not answer; the reason is in its own log.", "Ask the site to read its log at this time."
    ),
    507: ErrorText(
        "The run was never opened at this site.",
        "Check the run's id (`run.json` at the coordinator has it), or start the run from its beginning.",
    ),
    508: ErrorText(
        "The site '{site}' is not connected.",
        "Start its daemon, then resume the run; `fedmvi-site status` there says why the hub refuses it, if it does.",
    ),
    509: ErrorText("The journal has no answer to a question of this run.", "Resume the run with its sites."),
    510: ErrorText("A journal file is damaged.", "Restore the journal from a copy, or start a new run."),
    511: ErrorText(
        "A question needs work of this run that is not at the site.",
        "If its task was refused, see why; else resume the run, or start a new one if `store/work` was removed.",
    ),
    512: ErrorText(
        "The coordinator's key for signing messages cannot be read.",
        "Restore `keys/coordinator.key` of the hub's folder from its kit, readable by its owner only.",
    ),
    513: ErrorText(
        "The ledger of the site '{site}' is not the one that it told before: one of its first {lines} lines is missing "
        "or another.",
        "Call the hospital: let it run `fedmvi-site ledger verify`, and compare its copies of the ledger.",
    ),
    514: ErrorText(
        "The record of the head of the ledger of '{site}' is damaged.",
        "Restore the file that the log names from a copy; delete it only if the hospital agrees.",
    ),
    515: ErrorText(
        "This ledger is not one that was exported, or it was changed.",
        "Compare it with the site's own: `fedmvi-site ledger verify` names the first line that is not whole.",
    ),
    516: ErrorText(
        "The disk of the site is full.",
        "Make room there: the run asks again by itself, and nothing has left that is not in the ledger.",
    ),
    518: ErrorText(
        "Flower's SuperLink took none of the messages of a round.",
        "Look at its log (`state/log`): they may be larger than it accepts.",
    ),
    517: ErrorText(
        "The study cannot go on without {sites}.",
        "Bring the site back and resume the run: the detail says what the protocol, or the site, does not allow.",
    ),
}
