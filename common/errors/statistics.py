"""common/errors: 6xx: statistics."""

from common.errors.text import ErrorText

ERRORS = {
    601: ErrorText("The cohort '{cohort}' has no patients left.", "Check the patient flow in the report."),
    602: ErrorText("The endpoint '{endpoint}' has one class only in the cohort '{cohort}'.", "Check its coding."),
    603: ErrorText(
        "The predictors of '{model}' are not linearly independent.", "Leave out a constant or duplicate predictor."
    ),
    604: ErrorText("The model '{model}' did not converge.", "Use fewer predictors or check their scale."),
    610: ErrorText(
        "A column has fewer than {limit} known values in '{cohort}': a quantile would give patients away.",
        "Leave the column out.",
    ),
    611: ErrorText(
        "The column '{column}' has too few known values in the cohort '{cohort}' to be imputed from the others.",
        "Leave the column out, or impute from fewer columns.",
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
        "Have more tumours outlined by a second reader at one site, or leave `icc` out of the `reduction`.",
    ),
    619: ErrorText(
        "The cohort '{cohort}' has no patient of the reference site that '{column}' marks.",
        "Name as reference a site of the cohort.",
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
    630: ErrorText(
        "A fold or half-sample of the cohort '{cohort}' has fewer than {limit} patients of one class of '{endpoint}'.",
        "Use fewer folds, or more patients.",
    ),
    631: ErrorText(
        "The penalised model '{model}' needs more than {limit} coefficients at once, too many for its patients.",
        "Filter the predictors first, or use larger penalties.",
    ),
    632: ErrorText(
        "The penalties of the model '{model}' are not positive and falling, or its alpha is not in (0, 1].",
        "Mend the penalties or alpha.",
    ),
    633: ErrorText(
        "Stability selection of '{model}' needs 1 to {most} half-samples, a threshold above 0.5, and more than 0 "
        "false positives.",
        "Mend the number of half-samples, the threshold, or how many false positives may be expected.",
    ),
    636: ErrorText(
        "Without the site '{site}' the predictors of '{model}' separate the classes: there is no finite model to "
        "measure there.",
        "Use fewer predictors, or a `reduction`, whose penalty keeps coefficients finite.",
    ),
    637: ErrorText(
        "The site '{site}' has fewer than {limit} patients of a class of '{endpoint}': its area is not told.",
        "Judge this hospital together with others; it needs more patients with known predictors.",
    ),
    638: ErrorText(
        "No slope corrects the risks '{column}' in the cohort '{cohort}': it takes {patients} patients with {limit} of "
        "either class, and risks that rise with what was observed.",
        "Correct the intercept alone, or use closed testing; risks that fall need another model.",
    ),
    639: ErrorText(
        "So few patients with '{endpoint}' in the cohort '{cohort}' guarantee a sensitivity of at most {most}.",
        "Ask for that sensitivity or a lower one, or collect more patients with the endpoint.",
    ),
    634: ErrorText(
        "A hospital of the cohort '{cohort}' has fewer than {limit} patients of whom all columns are known: too few to "
        "be compared.",
        "Compare it when it has more patients; until then nothing is known of its shift.",
    ),
    635: ErrorText(
        "A hospital of the cohort '{cohort}' tells no column: each is the same for all its patients, or has a level "
        "with few of them.",
        "Check its units and coding, or compare hospitals by other predictors.",
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
    643: ErrorText(
        "A covariate explains nearly all of a feature of '{model}', or a feature lies outside its plausible range.",
        "Leave the covariate out of `harmonise`, or mend the range under [[variables]]; sites refuse such numbers.",
    ),
    645: ErrorText(
        "The variances of {count} genes of '{cohort}' do not make a smooth trend over their counts.",
        "Declare more genes in the study: some hundreds, of all levels of expression, make a trend.",
    ),
    646: ErrorText(
        "How many patients of the cohort '{cohort}' have the outcome cannot be told from the score '{column}': it "
        "hardly parts the classes in training, or all or none would have it.",
        "Correct the risks with outcomes, by another method.",
    ),
    647: ErrorText(
        "DESeq2 is not installed at the site, so its sensitivity analysis was not made there.",
        "Install it at the site, `pip install 'fedmvi[genomics]'`, or do without it: no other result needs it.",
    ),
    648: ErrorText(
        "DESeq2 is for counts, and the study's gene expression is in transcripts per million.",
        'Have the hospitals give counts, with scale = "counts", or leave the analysis out: no other result needs it.',
    ),
    649: ErrorText(
        "Fewer than two genes of '{cohort}' can be compared: found at every hospital, in enough patients.",
        "Check that hospitals name genes alike (`fedmvi-site check`), and `least_per_million` of the study.",
    ),
    650: ErrorText(
        "No two patients of the cohort '{cohort}' can be compared by '{endpoint}'.",
        "Check the coding of its events, and that patients are followed beyond the first of them.",
    ),
    651: ErrorText(
        "A fold of the cohort '{cohort}' has no event of '{endpoint}', or all of them.",
        "Use fewer folds, or stratify them by the event.",
    ),
    657: ErrorText(
        "Risks in '{cohort}' are not corrected for its prevalence: that alone must be what differs there from "
        "training, and without outcomes something else was found ({found}).",
        "Use a recalibration by outcomes; a correction of the prevalence would make risks of other patients wrong.",
    ),
    658: ErrorText(
        "The harmonised features of '{model}' are withheld here from patients of '{cohort}': hospitals may differ in "
        "whom they see, as in how many have the outcome, and harmonisation would take that away.",
        "Read the model that is not harmonised; or name the covariates that explain whom hospitals see, `harmonise = "
        "{{ covariates = [...] }}`, in another study.",
    ),
    659: ErrorText(
        "No signal was found: the score '{model}' has no predictor, so nothing can be built on it.",
        "This is a result; a larger false discovery rate, decided before looking, would let more predictors pass.",
    ),
    652: ErrorText(
        "Fewer than {limit} sites of the cohort '{cohort}' can add to a table of two readers.",
        "A site adds its own where both have read {patients} patients, and have seen each level in none of them or in "
        "{cell} or more; have more patients read twice, or leave the trait out.",
    ),
    653: ErrorText(
        "Two readers' table of the cohort '{cohort}', or what it leaves of the patients, has cells of fewer than "
        "{limit}: kappa, agreement and numbers of patients would give them away.",
        "Have more patients read twice, or all of them, or leave the trait out.",
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
}
