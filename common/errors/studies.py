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
    120: ErrorText(
        "The features of '{model}' are harmonised, and in a file of it they would not be: a patient's features are "
        "compared with those of the hospital's other patients, whom the file does not have.",
        "Evaluate the model in a study, in which each hospital harmonises a cohort of its own.",
    ),
}
