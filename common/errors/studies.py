"""common/errors: 1xx: the study protocol."""

from common.errors.text import ErrorText

ERRORS = {
    101: ErrorText("The study protocol cannot be read.", "Name an existing, readable study.toml."),
    102: ErrorText("The study protocol is not valid TOML.", "Mend the line that is named."),
    103: ErrorText(
        "The study protocol has {count} problem(s) and is refused as a whole.",
        "Mend every line that is listed; `fedmvi-server plan` checks a protocol without running it.",
    ),
    104: ErrorText(
        "The preoperative model '{model}' uses '{variable}', which is known only from {known}.",
        'Leave the variable out, or declare the model `timing = "postoperative"`.',
    ),
}
