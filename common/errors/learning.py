"""common/errors: 390-399: ROI stacks and training at a site; 680-689: training over sites, strategies, export."""

from common.errors.text import ErrorText

ERRORS = {
    390: ErrorText(
        "The prepared images have no ROI stacks that the network needs.",
        "Run `fedmvi-site prepare` with the study, and see which patients lack which sequence.",
    ),
    391: ErrorText(
        "This site did not train the network in that run, or has forgotten the run.",
        "Check the run's id, or use `--normalisation re-estimated`.",
    ),
    392: ErrorText(
        "The memory of the device is too small for the network.",
        "Use a smaller `size`, `width` or (with batch normalisation) `batch`, or end what else runs there.",
    ),
    393: ErrorText(
        "Fewer than {fewest} patients: the network's normalisation cannot be estimated on their images.",
        'Use `normalisation = "group"`, which needs no statistics, or a cohort with more patients at this site.',
    ),
    394: ErrorText(
        "The site's disk has no room for what a round of training leaves: {megabytes} MB are needed.",
        "Make room, or remove earlier runs with `fedmvi-site forget RUN`, and resume the run.",
    ),
    398: ErrorText(
        "The protocol's privacy budget is too small for the site's number of patients.",
        "Use a larger epsilon, fewer rounds, or a delta below 1 / patients of the smallest site.",
    ),
    399: ErrorText(
        "The privacy budget of this training is spent, or the site has no account of it.",
        "Train no further: use the weights of an earlier round, or start a new run.",
    ),
    680: ErrorText(
        "Training of the network diverged: every loss is at its bound, or a weight or its change is beyond it.",
        "Use a lower learning rate or a smaller `clip_norm`.",
    ),
    681: ErrorText(
        "A round of training or its validation had no patient.",
        "See which patients lack a sequence or a grade: too few sites or patients take part.",
    ),
    682: ErrorText(
        "The network learned nothing: no round lowered the validation loss below that of its random weights.",
        "Use a lower learning rate or more rounds; it has no performance, and is neither chosen nor frozen.",
    ),
    683: ErrorText(
        "The network learned nothing: it gives every patient the same score.",
        "Use a lower learning rate or more rounds; it has no performance, and is neither chosen nor frozen.",
    ),
    684: ErrorText(
        "The study has no network or combination '{wanted}'.",
        "Choose one of these, the nearest first: {there}.",
    ),
    685: ErrorText(
        "A network has 1 to 6 sequences in canonical order, 2 or 3 classes, and a known normalisation.",
        "Use weights that this version of FedMVI wrote, or correct the network in the protocol.",
    ),
    686: ErrorText(
        "The weights do not fit the network.",
        "Weights belong to one network of one study: compare studies and versions of FedMVI at site and coordinator.",
    ),
    687: ErrorText(
        "This is no whole file of a network's weights.",
        "Take the file again from the run's folder `models`, or finish the run with `fedmvi-server run`.",
    ),
    688: ErrorText(
        "A network with normalisation {normalisation} cannot be handed on without a site's own statistics.",
        "They never leave a site. Export it at a hospital, with its own statistics or with some estimated on at least "
        "{patients} patients there, or train it with `normalisation` group or batch.",
    ),
    689: ErrorText(
        "The run has no trained network '{network}' with that seed.",
        "Choose a network and a seed of the study, and finish the run with `fedmvi-server run`.",
    ),
    690: ErrorText(
        "The network's vectors of a sequence vary in fewer than two directions: there is nothing to compare.",
        "A network that learned nothing sees all patients alike: look at its losses, and train it longer.",
    ),
}
