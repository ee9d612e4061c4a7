"""common/errors: 5xx: the federation."""

from common.errors.text import ErrorText

ERRORS = {
    501: ErrorText("A message cannot be decoded.", "Check that all parties run the same FedMVI version."),
    502: ErrorText(
        "The code at the site differs from the coordinator's.", "Install the same FedMVI version everywhere."
    ),
    503: ErrorText("The site '{site}' did not answer.", "Check that its daemon runs, then resume the run."),
    504: ErrorText("A number is outside the range that can be summed exactly.", "Check the units of the data."),
    505: ErrorText(
        "The answer does not have the shape or kind that the query declares.",
        "Check that all parties run the same FedMVI version; if they do, report it.",
    ),
    506: ErrorText(
        "The site could not answer; the reason is in its own log.", "Ask the site to read its log at this time."
    ),
    507: ErrorText("The run was never opened at this site.", "Start the run from its beginning."),
    508: ErrorText("The site '{site}' is not connected.", "Start its daemon, then resume the run."),
    509: ErrorText("The journal has no answer to a question of this run.", "Resume the run with its sites."),
    510: ErrorText("A journal file is damaged.", "Restore the journal from a copy, or start a new run."),
    511: ErrorText(
        "A question needs work of this run that is not at the site.",
        "Resume the run; if the site's `store/work` was removed, start a new one.",
    ),
}
