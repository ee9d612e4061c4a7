"""common/errors: 2xx: a site's folder; 3xx: patients and values."""

from common.errors.text import ErrorText

ERRORS = {
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
    214: ErrorText(
        "The description of the site's data cannot be written.",
        "Name a new file in a folder that is there, or an earlier description.",
    ),
    215: ErrorText(
        "The table of gene expression cannot be read.",
        "Export it with a row a gene, a column `gene` with its name, and a column a patient, as the guide to prepare "
        "gene expression says.",
    ),
    216: ErrorText(
        "{count} column(s) of the table of gene expression are of nobody in the table of patients.",
        "Nothing of them is used. Where they are patients of the study, write their ids as in the table of patients.",
    ),
    217: ErrorText(
        "{count} row(s) of the table of gene expression have no usable name of a gene.",
        "They count for the libraries only. Where they are genes of the study, write their symbols or Ensembl "
        "identifiers.",
    ),
    218: ErrorText(
        "A gene is in more than one row of the table of gene expression.",
        "Keep one row of every gene of the study; rows of other genes count for the library only, and may stay.",
    ),
    219: ErrorText(
        "A spreadsheet has turned {count} name(s) of genes into dates.",
        "Export the table again without opening it in a spreadsheet; these genes are not found until then.",
    ),
    220: ErrorText(
        "{lacking} of the study's {genes} genes are not in the table of gene expression.",
        "A gene that one hospital lacks is compared at none. Where the hospital has them under other names, tell the "
        "coordinator, who can add these to the study's list.",
    ),
    221: ErrorText(
        "Rows of the table of gene expression are sums that a counting program wrote below its genes.",
        "Nothing need be done: they are left out, of the libraries too.",
    ),
    222: ErrorText(
        "Patients of the cohort '{cohort}' have no gene expression.",
        "Nothing need be done where they were not sequenced: they are left out of comparisons of expression.",
    ),
    223: ErrorText(
        "Two patients have the very same expression of all genes.",
        "See whether one sample was exported under two ids.",
    ),
    224: ErrorText(
        "No second reader's readings of {count} trait(s) are in the table, so that this hospital adds nothing to the "
        "agreement of readers on them in the cohort '{cohort}': Cohen's kappa is estimated only where {limit} of its "
        "{sites} hospitals have both.",
        "Nothing need be done where one radiologist has read; what a second has seen goes into the columns that are "
        "named.",
    ),
    225: ErrorText(
        "Second readings of {count} trait(s) are too few, so that this hospital adds nothing to the agreement of "
        "readers on them in the cohort '{cohort}': Cohen's kappa is estimated only where {limit} of its {sites} "
        "hospitals have enough.",
        "Have {patients} patients or more read twice, and each level seen by each reader in none of them or in {cell} "
        "or more.",
    ),
    226: ErrorText(
        "Fewer than {limit} tumours of the cohort '{cohort}' are outlined by a second reader, so that this hospital "
        "adds nothing to the agreement of readers on features; if no hospital does, the model '{model}' is not "
        "developed.",
        "Nothing need be done where one radiologist has outlined; else put a second's outlines beside the first's, as "
        "`tumour.reader2.nii.gz`.",
    ),
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
        "A patient has a value for '{variable}' that the study's endpoint does not name.",
        "Correct the cell, or name it in the study's endpoint or exclude it by an eligibility rule.",
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
    324: ErrorText(
        "A value of gene expression is missing, or not a number.",
        "Export plain numbers with a decimal point for every gene and patient; leave out patients without RNA, and "
        "genes that were not measured.",
    ),
    325: ErrorText(
        "A value of gene expression is negative.",
        "Export counts or transcripts per million as they are, neither logarithms nor centred values.",
    ),
    326: ErrorText(
        "The values of gene expression look like {found}, and the study compares {wanted}.",
        "Export what the study compares; or tell the coordinator, if no hospital of the study has it.",
    ),
    327: ErrorText(
        "Patients in one table of gene expression have values on different scales.",
        "Export all patients from the same step of the same program.",
    ),
    328: ErrorText(
        "A patient has no expression of any gene.", "Leave out the column of a patient whose sample could not be used."
    ),
    329: ErrorText(
        "The transcripts per million of some patients do not add up to a million.",
        "See that the table has all genes, and is not of reads per kilobase (FPKM).",
    ),
}
