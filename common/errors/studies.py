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
    130: ErrorText(
        "The file of gene sets '{file}' that the protocol names is not beside it.",
        "Put the file into the folder of study.toml, under that name.",
    ),
    131: ErrorText(
        "The file of gene sets '{file}' is not the one that the protocol names: its SHA-256 differs.",
        "Fetch the file again, or write the digest that `sha256sum` prints into [genomics.gene_sets], which makes it "
        "another study.",
    ),
    132: ErrorText(
        "Line {line} of the file of gene sets '{file}' cannot be read.",
        "Mend the line: the name of a set that no other line has, a description, and its genes, separated by tabs.",
    ),
}
