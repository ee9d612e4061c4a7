"""common: every error a person can meet, by number: what happened and what to do.

An error has two faces. The *public* face is its number and a few declared facts (names from the protocol,
counts, limits); only this may leave a hospital. The *local* face adds file, row, column and value, and is
shown on the machine where it happened, nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

Fact = str | int | float
"""What a public fact may be: a declared name, a count or a limit. Never a patient, a file or a value."""


@dataclass(frozen=True)
class ErrorText:
    """What happened (a format string over the public facts) and what to do, one sentence each."""

    what: str
    do: str


class Severity(IntEnum):
    """How bad a problem found by `fedmvi-site check` is; larger is worse."""

    NOTE = 1
    WARNING = 2
    ERROR = 3


CATALOGUE: Mapping[int, ErrorText] = MappingProxyType(
    {
        # 1xx: the study protocol
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
        # 2xx: a site's folder
        201: ErrorText("The site's folder or its site.toml is missing.", "Make one with `fedmvi-site init DIR`."),
        202: ErrorText("site.toml is not valid TOML.", "Mend the line that is named."),
        203: ErrorText("site.toml has {count} problem(s).", "Mend every entry that is listed."),
        204: ErrorText("A table that the site names is missing.", "Put the file there or mend its path in site.toml."),
        205: ErrorText(
            "The table is not UTF-8 text.",
            'Save it as UTF-8, or declare `encoding = "..."` under [tables] in site.toml.',
        ),
        206: ErrorText(
            "The table is not a well-formed CSV file.",
            "Export it again with one header line and the same number of cells in every row.",
        ),
        207: ErrorText(
            "The column '{column}' that the study needs is not in the table.",
            "Add the column, or map it to your header under [columns] in site.toml.",
        ),
        208: ErrorText("Two columns of the table have the same header.", "Rename or remove one of them."),
        209: ErrorText(
            "The study names no cohort for the site '{site}'.",
            "Mend the site's name in site.toml or the cohorts of the study.",
        ),
        210: ErrorText("Two sites are called '{site}'.", "Give every site its own name in its site.toml."),
        211: ErrorText("The site's table has no patients.", "Export the table again; it needs one row a patient."),
        212: ErrorText(
            "The site has not been prepared for this study, or its files changed since.",
            "Run `fedmvi-site prepare STUDY` at the site.",
        ),
        213: ErrorText(
            "The folder is not empty, and nothing was written.", "Name a new folder, or remove the old files yourself."
        ),
        # 3xx: patients and values
        301: ErrorText("A patient appears more than once.", "Keep one row a patient."),
        302: ErrorText(
            "A patient id is empty or has characters other than A-Z, a-z, 0-9, _ and - (64 at most).",
            "Run `fedmvi-site check --assign-ids`; the key file stays at the site.",
        ),
        303: ErrorText(
            "A value of '{variable}' is not a number.",
            'Correct the cell; if it stands for "missing", list it under `missing` in site.toml.',
        ),
        304: ErrorText(
            "A value of '{variable}' has a comma, which may be a thousands mark or a decimal mark.",
            "Write the number with a point and without thousands marks.",
        ),
        305: ErrorText(
            "A value of '{variable}' is given only as below or above a limit, and the study needs the number.",
            "Give the measured number, or ask for a study that only compares it with a cut-off it decides.",
        ),
        306: ErrorText(
            "A value of '{variable}' is outside its plausible range ({low} to {high} {unit}).",
            "Check the value and its unit; a right value needs a wider range in the study's [[variables]].",
        ),
        307: ErrorText(
            "The values of '{variable}' look like a mixture of units.",
            "Convert the column to {unit}, or declare its unit under [columns] in site.toml.",
        ),
        308: ErrorText(
            "A value of '{variable}' is not one of its levels.",
            "Correct the cell, or map it under `codes` in [columns] of site.toml.",
        ),
        309: ErrorText(
            "The event of '{endpoint}' is given without its time, or the time without the event.",
            "Complete both cells, or leave both empty.",
        ),
        310: ErrorText("The time of '{endpoint}' is negative.", "Times count from surgery; correct the cell."),
        311: ErrorText(
            "A time of '{endpoint}' is off the declared grid of {precision} {unit}.",
            "Record times at that precision, or declare the true one in the study; times are never rounded here.",
        ),
        312: ErrorText(
            "A time of '{endpoint}' is beyond the declared maximum of {maximum} {unit}.",
            "Check the cell and its unit, or raise `maximum` in the study.",
        ),
        313: ErrorText(
            "The endpoint '{endpoint}' is missing for every patient.",
            "Map its column under [columns] in site.toml, or leave the site out of that cohort.",
        ),
        314: ErrorText(
            "The column '{variable}' equals the endpoint '{endpoint}' in every patient: a leak.",
            "Take the variable out of the model; it was derived from the outcome.",
        ),
        315: ErrorText(
            "The endpoint '{endpoint}' has one class only at this site.",
            "Check the coding; a site with one class cannot join a model on its own.",
        ),
        316: ErrorText(
            "A patient has a value for '{variable}' that the study's `positive` and `negative` do not name.",
            "Correct the cell, or name the level in the study's endpoint or exclude it by an eligibility rule.",
        ),
        317: ErrorText("A date cannot be read.", "Write dates as YYYY-MM-DD."),
        318: ErrorText(
            "The endpoint '{endpoint}' is missing for some patients.",
            "Nothing need be done: they are left out of analyses of that endpoint, and counted.",
        ),
        319: ErrorText(
            "The unit that site.toml declares for '{variable}' is not one that the study knows.",
            "Declare one of the units that are listed, or convert the column to {unit}.",
        ),
        320: ErrorText(
            "The column '{column}' could be read from more than one column of the table.",
            "Name the right header under [columns] in site.toml.",
        ),
        321: ErrorText(
            "The key file of patient ids cannot be extended without changing its meaning, and nothing was written.",
            "Restore the key file from a copy, or move it away if it belongs to another table.",
        ),
        322: ErrorText(
            "The site's secret is missing or damaged, and patients cannot be assigned to the parts of a split.",
            "Restore `site.secret` from a copy; a new one changes the split and needs a new run.",
        ),
        323: ErrorText(
            "The header of '{variable}' names another unit than {unit}.",
            "Declare the column's unit under [columns] in site.toml, or mend the header.",
        ),
        # 4xx: the gate
        401: ErrorText(
            "This site has not approved the study.",
            "Ask the site to read the study and add what `fedmvi-site fingerprint STUDY` prints to `approved_studies`.",
        ),
        402: ErrorText("The site does not answer queries of the kind '{query}'.", "Ask the site to widen its policy."),
        403: ErrorText(
            "The cohort '{cohort}' has fewer than {limit} patients at this site.",
            "Leave the site out of the cohort; a site with a stricter limit than the study's may lower it.",
        ),
        404: ErrorText(
            "A query asks for {parameters} parameters, more than {fraction} of the patients allow.",
            "Use fewer predictors.",
        ),
        405: ErrorText(
            "The endpoint '{endpoint}' has fewer than {limit} patients in a class of the cohort '{cohort}' here.",
            "Leave the site out of the cohort, or join it with others.",
        ),
        406: ErrorText(
            "A sum over fewer than {limit} sites is refused.",
            "Use at least that many sites; smaller cohorts are answered by each site alone.",
        ),
        407: ErrorText(
            "The endpoints of the cohort '{cohort}' stay closed until the models are frozen.",
            "This is a fault of the server program; report it.",
        ),
        408: ErrorText(
            "The site does not release results of its own.",
            "Ask the site to set `release_alone = true` in its policy, or pool it with two others.",
        ),
        409: ErrorText(
            "A column needed by the query has a level with fewer than {limit} patients in the cohort '{cohort}'.",
            "Merge levels or leave the predictor out.",
        ),
        410: ErrorText("The site's data changed since the run was opened.", "Start a new run."),
        411: ErrorText("The study that arrived is not the one that was opened.", "Start a new run."),
        412: ErrorText(
            "The site is asked about a roster or cohort that it does not belong to.",
            "Check the site names of the study; if they are right, report it.",
        ),
        413: ErrorText(
            "The same question would get a different answer than the one already given.",
            "The site's data or software changed during the run; start a new run.",
        ),
        414: ErrorText(
            "A question uses {part} that the approved study does not have.",
            "This is a fault of the server program; report it.",
        ),
        415: ErrorText(
            "A message asks for more numbers at once than a site answers ({limit}).",
            "Ask in several messages; if one question alone is so large, report it.",
        ),
        416: ErrorText(
            "The coefficients of a query give weight to fewer than {limit} patients of the cohort '{cohort}' here.",
            "Leave out predictors that separate the classes.",
        ),
        417: ErrorText(
            "No sum can be masked: this site does not trust a key of the site '{site}'.",
            "Let both sites exchange what `fedmvi-site key` prints, and enter it with `fedmvi-site trust`.",
        ),
        418: ErrorText(
            "Some sites mask their parts of a sum and others do not.",
            "Set `masks` under [policy] alike in every site's site.toml, and start a new run.",
        ),
        419: ErrorText(
            "The site '{site}' has not signed this run with the sites and the study that this site sees.",
            "Compare the key that `fedmvi-site key` prints there with peers.toml; if they are the same, the coordinator "
            "shows sites different things: stop the run and call the other hospitals.",
        ),
        420: ErrorText(
            "The patients of the cohort '{cohort}' here differ by fewer than {limit} from those of an earlier run.",
            "The site's log names the earlier run: add more patients before you run again, or let the hospital decide "
            "to list that run in `allow_differences` under [policy] in site.toml.",
        ),
        421: ErrorText(
            "The sites of the cohort '{cohort}' differ by fewer than {limit} from those of an earlier run.",
            "The site's log names the earlier run: keep its sites, or let the hospital decide to list that run in "
            "`allow_differences` under [policy] in site.toml.",
        ),
        422: ErrorText(
            "The site's record of what it answered in earlier runs is damaged.",
            "Restore the folder that the site's log names from a copy.",
        ),
        # 5xx: the federation
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
        # 6xx: statistics
        601: ErrorText("The cohort '{cohort}' has no patients left.", "Check the patient flow in the report."),
        602: ErrorText("The endpoint '{endpoint}' has one class only in the cohort '{cohort}'.", "Check its coding."),
        603: ErrorText(
            "The predictors of '{model}' are not linearly independent.", "Leave out a constant or duplicate predictor."
        ),
        604: ErrorText("The model '{model}' did not converge.", "Use fewer predictors or check their scale."),
        630: ErrorText(
            "A fold or half-sample of the cohort '{cohort}' has fewer than {limit} patients of a class of '{endpoint}'.",
            "Use fewer folds, or more patients.",
        ),
        631: ErrorText(
            "The penalised model '{model}' needs more than {limit} coefficients at once, too many for its patients.",
            "Filter the predictors first, or use larger penalties.",
        ),
        633: ErrorText(
            "Stability selection of '{model}' needs 1 to {most} half-samples, a threshold above 0.5 and false positives.",
            "Mend the number of half-samples, the threshold, or how many false positives may be expected.",
        ),
        632: ErrorText(
            "The penalties of the model '{model}' are not positive and falling, or its alpha is not in (0, 1].",
            "Mend the penalties or alpha.",
        ),
        620: ErrorText(
            "Two fits cannot be compared by a likelihood-ratio test.",
            "Compare unpenalised fits to the same patients, one on some of the predictors of the other.",
        ),
        621: ErrorText(
            "A level of the ordinal endpoint '{endpoint}' has no patient in the cohort '{cohort}'.",
            "Join the level with its neighbour.",
        ),
        622: ErrorText(
            "The predictors of '{model}' separate the classes, so that no predictor can be eliminated by its fit.",
            "Start from fewer or coarser predictors, or use Firth's penalised likelihood.",
        ),
        650: ErrorText(
            "No two patients of the cohort '{cohort}' can be compared by '{endpoint}'.",
            "Check the coding of its events, and that patients are followed beyond the first of them.",
        ),
        651: ErrorText(
            "A fold of the cohort '{cohort}' has no event of '{endpoint}', or all of them.",
            "Use fewer folds, or stratify them by the event.",
        ),
        655: ErrorText(
            "A time, event, group or score of '{endpoint}' is missing or has no meaning where survival is counted.",
            "Keep only patients who have them (`Complete`), and code events 0, 1 and, for a competing cause, 2.",
        ),
        656: ErrorText(
            "Nothing can be told of '{endpoint}' at the time {time}: patients of a group are not followed so long, or "
            "it is no time after 0 and after those before it.",
            "Choose earlier times, in ascending order.",
        ),
        615: ErrorText(
            "Correlations of {columns} columns need more patients than the {patients} of the cohort '{cohort}'.",
            "Leave out columns by a filter of single columns first; a third of the number of patients is allowed.",
        ),
        616: ErrorText(
            "The column '{column}' does not vary within the sites of the cohort '{cohort}'.",
            "Leave it out, for example with a filter on the variance.",
        ),
        617: ErrorText(
            "Harmonisation needs {limit} patients at each site, and this one has fewer.",
            "Leave the site out of the cohort, or report it unharmonised.",
        ),
        618: ErrorText(
            "No site of the cohort '{cohort}' has {limit} lesions that all readers read.",
            "Name the sites of the reproducibility cohort anew, or ask for the table pooled over sites.",
        ),
        619: ErrorText(
            "The cohort '{cohort}' has no patient of the reference site that '{column}' marks.",
            "Name as reference a site of the cohort.",
        ),
        610: ErrorText(
            "A column has fewer than {limit} known values in the cohort '{cohort}': a quantile would give patients away.",
            "Leave the column out.",
        ),
        611: ErrorText(
            "The column '{column}' has too few known values in the cohort '{cohort}' to be imputed from the others.",
            "Leave the column out, or impute from fewer columns.",
        ),
        640: ErrorText(
            "Scores compared in the cohort '{cohort}' are not all known for the same patients.",
            "Compare models on the patients for whom every model gives a score.",
        ),
        641: ErrorText(
            "No cut-off of '{column}' in the cohort '{cohort}' reaches the target with enough patients on both sides.",
            "Ask for a lower sensitivity or specificity, or for Youden's index.",
        ),
        642: ErrorText(
            "The risks '{column}' separate the classes of the cohort '{cohort}': no finite line calibrates them.",
            "Judge calibration where both classes occur at the same risks.",
        ),
        # 7xx: runs
        701: ErrorText("The run's folder already holds a finished run.", "Name a new folder."),
        702: ErrorText("The folder holds no run.", "Name a folder that a run was written to."),
        703: ErrorText("The run failed.", "Read the log that is named, mend the cause, and run it again."),
        704: ErrorText("results.json does not follow its schema.", "Restore the file from the run."),
        705: ErrorText(
            "The run's folder holds an unfinished run of another study.",
            "Name a new folder, or give the study that this one was started with to resume it.",
        ),
        706: ErrorText(
            "Another process works on the run's folder.",
            "Wait until it has ended; if it was killed, it ends in seconds.",
        ),
        # 8xx: simulation and importers
        801: ErrorText("The data folder does not hold the expected files.", "Name the folder that holds them."),
        802: ErrorText("The folder of sites holds no site.", "Name a folder whose sub-folders have a site.toml."),
        803: ErrorText("Flower's simulation runtime failed.", "Read the log that is named."),
        804: ErrorText(
            "The program needs a part that is not installed: {extra}.",
            "Install it with `pip install 'fedmvi[{extra}]'`.",
        ),
        805: ErrorText(
            "There is no folder for the site '{site}' of the study.",
            "Mend the site's name in its site.toml or in the study, or name the folder that holds it.",
        ),
        806: ErrorText(
            "The record of how the sites were made cannot be read.", "Import the sites again, or remove the file."
        ),
        # 9xx: ourselves
        901: ErrorText(
            "FedMVI met an error that it does not know.", "Report it with the local log; nothing was released."
        ),
    }
)


class FedmviError(Exception):
    """An error with a number. See `docs/errors.md` for the list.

    Parameters
    ----------
    number
        A key of `CATALOGUE`.
    local
        Detail for the person at this machine (file, row, column, value). It never leaves.
    severity
        Used by checks that collect problems.
    facts
        Public facts that fill the sentence of the catalogue; these may leave.
    """

    def __init__(self, number: int, local: str = "", *, severity: Severity = Severity.ERROR, **facts: Fact) -> None:
        self.number = number
        self.facts: dict[str, Fact] = dict(facts)
        self.local = local
        self.severity = severity
        self.site = ""
        super().__init__(number, local)

    @classmethod
    def reported(cls, number: int, local: str, facts: Mapping[str, Fact], site: str = "") -> FedmviError:
        """An error that another party, such as a site, met and reported by number and public facts."""
        error = cls(number, local)
        error.facts = dict(facts)
        error.site = site
        return error

    @property
    def what(self) -> str:
        """The sentence that says what happened, from public facts only."""
        return CATALOGUE[self.number].what.format_map(_Facts(self.facts))

    @property
    def do(self) -> str:
        """The sentence that says what to do."""
        return CATALOGUE[self.number].do.format_map(_Facts(self.facts))

    @property
    def code(self) -> str:
        """The number as people quote it, such as `FEDMVI-303`."""
        return f"FEDMVI-{self.number}"

    def public(self) -> dict[str, object]:
        """What may leave the machine: the number and the public facts."""
        return {"number": self.number, "facts": dict(self.facts)}

    def __str__(self) -> str:
        detail = f" [{self.local}]" if self.local else ""
        return f"{self.code} {self.what}{detail} {self.do}"


class _Facts(dict[str, Fact]):
    """Facts for a sentence; one that was not given stays visible as its name instead of raising."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>"
