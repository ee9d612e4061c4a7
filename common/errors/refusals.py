"""common/errors: 4xx: what a site refuses."""

from common.errors.text import ErrorText

ERRORS = {
    401: ErrorText(
        "This site has not approved the study.",
        "Ask the site to read it (`fedmvi-site preview STUDY`) and to approve it (`fedmvi-site approve STUDY`).",
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
        "A class of '{endpoint}' has fewer than {limit} patients in the cohort '{cohort}' here, or in its folds.",
        "Leave the site out of the cohort, join it with others, or use fewer folds.",
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
        "A column of the query has fewer than {limit} patients with some level, or one value only, in '{cohort}' here.",
        "Merge levels, leave the predictor out, or leave out the site.",
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
        "Compare the key that `fedmvi-site key` prints there with peers.toml; if they agree, the coordinator "
        "shows sites different things: stop the run and call the other hospitals.",
    ),
    420: ErrorText(
        "The patients of the cohort '{cohort}' here differ by fewer than {limit} from those of an earlier run.",
        "The site's log names the earlier run: add more patients before you run again, or let the hospital decide "
        "to list that run in `allow_differences` under [policy] in site.toml.",
    ),
    421: ErrorText(
        "The sites of the cohort '{cohort}' are not those of an earlier run: fewer than {limit} could be told apart.",
        "The site's log names the earlier run: keep its sites; or those by which they differ set `may_be_left_out` "
        "under [policy] in site.toml before a run has them.",
    ),
    422: ErrorText(
        "The site's record of what it answered in earlier runs is damaged.",
        "Restore the folder that the site's log names from a copy.",
    ),
    423: ErrorText(
        "The strategy trimmed-mean needs each site's own update, and this site lets updates leave under masks only.",
        'Choose another strategy in the protocol; only sites with `masks = "off"` and `release_alone = true` can take '
        "part in this one.",
    ),
    424: ErrorText(
        "The training of a network goes beyond what this site allows ({limit}).",
        "Use fewer rounds, seeds or combinations, or ask the site to raise `max_rounds` or `max_update_bytes` under "
        "[policy] in site.toml.",
    ),
    425: ErrorText(
        "The message is not signed by the coordinator for this site.",
        "If the coordinator's keys were renewed, enrol the site with its new kit; else somebody other than the "
        "coordinator reached the site's node: call the coordinator.",
    ),
    426: ErrorText(
        "A site that is not enrolled answers no message from a network.",
        "Enrol it with the kit of its consortium: `fedmvi-site enrol`; only sites of simulated patients need none.",
    ),
    427: ErrorText(
        "This site takes part in differentially private training only, with an epsilon of at most {limit}.",
        "Give the network [networks.privacy] with that epsilon or a smaller one, or ask the site to change "
        "`private_epsilon` under [policy] in site.toml.",
    ),
    428: ErrorText(
        "The study has been given as many answers as this site gives to one study ({limit}).",
        "Ask the site to read its ledger, and to raise `max_questions` under [policy] in site.toml.",
    ),
    429: ErrorText(
        "The countersigned head of the site's ledger is damaged.",
        "Delete `store/ledger.countersigned.json`: the coordinator sends the head again with its next message; compare "
        "the ledger with your copies of it.",
    ),
    430: ErrorText(
        "The site had signed for this run that it allows `{policy}`, and does not any more.",
        "Start a new run; or the hospital sets `{policy}` under [policy] in site.toml again.",
    ),
    431: ErrorText(
        "Subgroups by '{variable}' in the cohort '{cohort}' would tell few patients of this site apart: a level, those "
        "outside it, or those in whom it differs from another subgroup, are too few.",
        "Use coarser levels or another cut-off, or leave the variable out of the subgroups.",
    ),
    432: ErrorText(
        "The site '{site}' has not signed that it may be left out of the sums over the cohort '{cohort}'.",
        "Ask it to set `may_be_left_out` under [policy] in site.toml and start a new run, or leave no hospital out: "
        "`leave_one_centre_out` of [shift], `development` of [[networks]].",
    ),
    433: ErrorText(
        "Of the cohort '{cohort}' {count} site(s) have not signed that they may be left out: with all others left out "
        "one after the other their part would be told, and a sum needs {limit} sites.",
        "Ask all sites of the cohort to set `may_be_left_out` under [policy] in site.toml, or take "
        "`leave_one_centre_out` out of [shift].",
    ),
    434: ErrorText(
        "At this site fewer than {limit} patients of the cohort '{cohort}' lack a value that is filled by another "
        "number without each centre: sums that differ by no more would tell their rows.",
        'Use `missing = "complete-case"` for models that are developed without each centre, or mend the few values.',
    ),
    435: ErrorText(
        "The correction '{name}' is none that the study declares of a score that was frozen.",
        "This is a fault of the server program; report it.",
    ),
    436: ErrorText(
        "Corrections of scores are frozen once, after the models and in addition to them.",
        "This is a fault of the server program; report it.",
    ),
    437: ErrorText(
        "This site told an earlier run the sums and counts of the same patients of '{cohort}', with other numbers.",
        "The site's log names the earlier run: the hospital may list it in `allow_differences` under [policy] in "
        "site.toml; else nothing is told of this site alone, and whether it differs cannot be told.",
    ),
    438: ErrorText(
        "Of the cohort '{cohort}' {count} site(s) tell nothing of themselves alone: what all others tell would leave "
        "their part of the sums, and a sum needs {limit} sites.",
        "Ask them to set `release_alone` under [policy] in site.toml, or do without what hospitals tell of themselves.",
    ),
    439: ErrorText(
        "A Cox regression of '{endpoint}' in the cohort '{cohort}' has too few events here: fewer than ten for each "
        "column, or some in a group but fewer than {limit}.",
        "Name fewer covariates in `cox`, take a later `horizon`, or leave out the site.",
    ),
}
