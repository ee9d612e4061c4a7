"""common/errors: 780-789: frozen models that are handed on, and predictions with them."""

from common.errors.text import ErrorText

ERRORS: dict[int, ErrorText] = {
    780: ErrorText(
        "The run has no logistic model '{model}' that can be handed on.",
        "Name one of: {known}. Why the others cannot be is in the run's report.",
    ),
    781: ErrorText(
        "The file is no model of FedMVI, or it was changed.",
        "Let the coordinator send it again, and compare the SHA-256 of the file.",
    ),
    782: ErrorText(
        "The model is not signed by the coordinator of this site's consortium.",
        "Do not use it: ask the coordinator for the signed file. A model of another consortium is used with the folder "
        "of a site that is not enrolled, or without --site.",
    ),
    783: ErrorText(
        "The model needs {count} feature(s) of images that are not in the table.",
        "Give the folder with the patients' images and masks in place of the table; or each feature as a column of its "
        "own name, computed as `preparation` in the file's model.json says.",
    ),
    784: ErrorText(
        "There is a file of that name already, and nothing was written.",
        "Name a new file, or remove the old one yourself.",
    ),
    785: ErrorText("The file cannot be written.", "Name a file in a folder that is there and may be written to."),
    786: ErrorText(
        "No patient of that id is there.", "Give the id exactly as the table, or the folder of images, has it."
    ),
    787: ErrorText(
        "The patient withdrew his consent, and nothing is computed of him.",
        "Nothing: predictions are research, and withdrawn.csv of the site says that he takes no part in it.",
    ),
    788: ErrorText(
        "An input of the model is the score of a network, which no table can give.",
        "Give the folder with the patients' images and masks in place of the table.",
    ),
}
