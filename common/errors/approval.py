"""common: errors of approval, by number."""

from __future__ import annotations

from common.errors.text import ErrorText

ERRORS: dict[int, ErrorText] = {
    760: ErrorText(
        "The list of approved studies in site.toml could not be changed without touching anything else.",
        "Edit `approved_studies` under [policy] in site.toml yourself; the line is printed above.",
    ),
    761: ErrorText(
        "The study is not among those that this site has approved.",
        "Look at `approved_studies` under [policy] in site.toml; a study is named by its file or its fingerprint.",
    ),
    762: ErrorText(
        "This site is simulated and approves any study.",
        'Remove "any" from `approved_studies` under [policy] in site.toml first.',
    ),
    763: ErrorText(
        "The list of patients who withdrew their consent cannot be read.",
        "Restore withdrawn.csv in the site's folder from a copy: a header `patient_id,date`, then a patient a line.",
    ),
    764: ErrorText(
        "No patient of that id is in the site's table, its prepared data or its work.",
        "Give the id exactly as patients.csv has it; if the key file of --assign-ids has it, give the assigned one.",
    ),
    765: ErrorText(
        "{count} patient(s) of the table withdrew their consent and are left out.",
        "Delete their rows and images where you keep them, if the law or the patient asks for it.",
    ),
    766: ErrorText(
        "The prepared data of the site hold a patient who withdrew his consent.",
        "Let the site run the same `fedmvi-site withdraw` again, which completes what was interrupted.",
    ),
    768: ErrorText("The data-protection sheet cannot be written.", "Choose a folder that may be written to."),
}
