"""common/errors: 7xx: runs; 8xx: simulation and importers; 9xx: FedMVI itself."""

from common.errors.text import ErrorText

ERRORS = {
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
    707: ErrorText(
        "The run's results have no scale of MR intensities.",
        "Run a study with the statistic `means` of all columns `<phase>.body.original_landmark_P<percentile>`.",
    ),
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
    807: ErrorText("Nothing is measured on a table '{data}'.", "Name one of {known}."),
    808: ErrorText(
        "There is no file and no shipped consortium '{name}'.", "Name a consortium file, or one of {known}."
    ),
    809: ErrorText("The consortium file is not valid: {problems}.", "Correct what is named."),
    810: ErrorText(
        "The liver mask is not a three-dimensional NIfTI image with the label {label}.",
        "Name a label map that holds the liver, and the liver's label in it.",
    ),
    811: ErrorText(
        "The declared slices do not reach the simulated liver.", "Declare more slices, or thicker ones, in [imaging]."
    ),
    812: ErrorText(
        "The signal of the consortium '{name}' cannot be measured: it lacks {absent}.",
        "Name a consortium with images, and the groups to train on and to test.",
    ),
    813: ErrorText(
        "The consortium '{name}' has no images to preview.", "Leave out --preview, or name a consortium with images."
    ),
    814: ErrorText(
        "The patients of these sites are made up, and the study '{study}' does not say so.",
        "Set `simulated = true` under [study], or name the sites of real patients.",
    ),
    815: ErrorText(
        "ROI stacks cannot be drawn for the study '{study}'.",
        "Draw for a study with [preparation.stacks] of MR sequences, whose endpoints are MVI's presence and grade.",
    ),
    816: ErrorText(
        "The study '{study}' has no network, or none of that name.", "Name a study with [[networks]], and one of them."
    ),
    817: ErrorText(
        "The site '{site}' is not simulated, and its patients must not be pooled.",
        "Compare trainings on simulated sites, as `fedmvi-simulate stacks` makes them.",
    ),
    822: ErrorText("There is no fault of the kind '{kind}'.", "Name one of: {known}."),
    823: ErrorText(
        "The study fails without any fault, so that nothing can be told of faults.",
        "Run it with `fedmvi-simulate run --in-process` and mend what it names.",
    ),
    824: ErrorText(
        "A command of the system that disturbs the deployment failed: {command}.",
        "Allow it to root on this machine, or name kinds of faults that do not need it with --kind.",
    ),
    825: ErrorText(
        "The local log cannot be written.", "Let the daemon's user write to the folder that is named, and start again."
    ),
    818: ErrorText(
        "The site '{site}' is not simulated, and is not copied into a deployment on one machine.",
        "Name a folder of simulated sites, as `fedmvi-simulate cohort` and `fedmvi-simulate import` make them.",
    ),
    819: ErrorText(
        "A part of the deployment on this machine did not start or did not answer: {part}.",
        "Read the last words of its log, mend what they name, and start again.",
    ),
    820: ErrorText(
        "The deployment and one process gave different results for the study '{study}'.",
        "Keep both files and report it: equal results are promised, byte for byte.",
    ),
    821: ErrorText(
        "A command of the deployment on this machine failed: {command}.",
        "Read what it said, mend the cause, and start again.",
    ),
    826: ErrorText(
        "The port {port} for metrics cannot be had on the loopback address.", "Name a free port, or 0 for no metrics."
    ),
    828: ErrorText("There is no shift of the kind '{kind}'.", "Name one of: {known}."),
    829: ErrorText("The consortium '{name}' has no gene expression.", "Name a consortium that declares [expression]."),
    830: ErrorText(
        "There is no room on disk for {sites} hospitals: {needed} MB are needed, and {free} MB are free.",
        "Make room in the folder that is named, or name fewer hospitals.",
    ),
    901: ErrorText("FedMVI met an error that it does not know.", "Report it with the local log; nothing was released."),
}
