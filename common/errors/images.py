"""common/errors: 33x: reading images; 34x: masks; 35x: finding images; 36x: checks; 37x: preparation."""

from common.errors.text import ErrorText

ERRORS = {
    330: ErrorText("An image cannot be read.", "Export the file that is named again; it is damaged or not an image."),
    331: ErrorText(
        "Slices of an image are missing or unevenly spaced.",
        "Export the series again with all its slices; where it was scanned so, leave this phase out.",
    ),
    332: ErrorText(
        "The slices of an image do not belong together.",
        "Name one series in the manifest: slices of one size, orientation and pixel width.",
    ),
    333: ErrorText(
        "An image has voxels that are not numbers, or of one value only.", "Export the image again from its source."
    ),
    334: ErrorText(
        "An image has no usable position in the patient.",
        "Export it from the PACS as DICOM, or write a NIfTI whose sform and qform agree.",
    ),
    335: ErrorText(
        "The pixels are compressed in a way that cannot be read here.",
        "Export the series uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE.",
    ),
    336: ErrorText(
        "A series holds several volumes, and the manifest does not say which one is meant.",
        "Run `fedmvi-site discover` and give `volume` in the manifest.",
    ),
    340: ErrorText("A mask cannot be read.", "Export the file that is named again as NIfTI, NRRD, SEG or RTSTRUCT."),
    341: ErrorText(
        "A mask does not lie on its image.",
        "Export it on the grid of the image it was drawn on, or name that image's phase in the manifest.",
    ),
    342: ErrorText(
        "A mask is empty, or its region is not in the file.", "Outline the region, or name its segment in the manifest."
    ),
    343: ErrorText(
        "A mask belongs to another patient or series than its image.", "Put the right mask there, or mend the manifest."
    ),
    344: ErrorText(
        "A contour cannot be turned into voxels.",
        "Export closed planar contours on the image's slices, or the mask as NIfTI.",
    ),
    350: ErrorText("The manifest cannot be used.", "Mend the lines that are named; `fedmvi-site discover` writes one."),
    351: ErrorText(
        "A patient lacks a phase that the study needs.", "Add the phase, or list it as optional in the study."
    ),
    352: ErrorText("A patient has no tumour mask.", "Outline the tumour on the reference phase, or name the mask."),
    353: ErrorText(
        "What an image or mask shows could not be told from its headers.",
        "Look at it, and write its phase or region into the manifest with `use` yes; or leave `use` at no.",
    ),
    354: ErrorText(
        "Images or masks of a patient who is not in the table.", "Add the patient, or mend the name of the folder."
    ),
    355: ErrorText(
        "A phase contradicts what its headers say.", "Mend the phase in the manifest; the headers are named."
    ),
    356: ErrorText(
        "The images of a site are described twice, or nowhere.",
        "Give a manifest or folders of phases under [images] in site.toml, not both.",
    ),
    357: ErrorText(
        "The name of an image or mask is not understood, and the file is not used.",
        "Call it after a phase or region of the study, or list it in the manifest.",
    ),
    358: ErrorText(
        "A manifest is already there, and is not overwritten.", "Move it away, or give another name with `--out`."
    ),
    359: ErrorText("A patient lacks an optional phase.", "Nothing; what needs the phase leaves the patient out."),
    360: ErrorText("A mask lies outside of the body or the liver.", "Look at the contact sheet (`check --html`)."),
    361: ErrorText("A mask has several parts.", "Remove stray voxels; where the disease is multifocal, this is right."),
    362: ErrorText(
        "Intensities are not those of such an image.", "Check the rescale of the export, and the phase; CT is in HU."
    ),
    363: ErrorText("A patient moved much between phases.", "Look at the contact sheet, and at the registration."),
    364: ErrorText("The same image or mask is used twice.", "Find out which it is, and replace the other."),
    365: ErrorText(
        "Headers hold what tells who a patient is.", "De-identify the export; nothing of it leaves the site."
    ),
    366: ErrorText("Text may be burnt into the pixels.", "Look at the images, and export them without annotations."),
    367: ErrorText("A mask touches the edge of its image.", "Check that the lesion is imaged as a whole."),
    368: ErrorText(
        "A phase was imaged otherwise than the reference phase, or does not show the whole tumour.",
        "Look whether the right series was exported, or leave this phase out.",
    ),
    369: ErrorText(
        "Two readers' masks of one region overlap little.", "Look at the contact sheet; do both mean the same lesion?"
    ),
    370: ErrorText(
        "A phase could not be registered.",
        "Look at both phases on the contact sheet (`check --html`); correct the phase, or leave it out.",
    ),
    371: ErrorText(
        "A registration fell back to rigid, or overlaps poorly.",
        "Look at the pair in the store's `registrations.html`.",
    ),
    372: ErrorText(
        "A region is too small for features.", "Check the mask and its spacing; features of it are left empty."
    ),
    373: ErrorText(
        "Part of a ring is lost at the liver's surface, in an excluded region, or at the image's end.",
        "Nothing, if the tumour is subcapsular.",
    ),
    374: ErrorText("A liver mask is needed to limit the rings.", "Outline the liver, or ask for another protocol."),
    376: ErrorText(
        "Slices of a ROI stack are repeated: there are fewer of the tumour, or of the image at these positions.",
        "Nothing, if the tumour is thin; look at stacks.html where the phase was scanned in another direction.",
    ),
    377: ErrorText(
        "The disk is full, or the store cannot be written.",
        "Make room or mend the permissions, and run the command again; what is done is kept.",
    ),
    378: ErrorText(
        "A process ended on a patient's images, most likely for want of memory.",
        "Run the command again with fewer `--workers`; what is done is kept.",
    ),
    379: ErrorText("The images changed while they were read.", "Run the command again when the export has finished."),
    380: ErrorText(
        "No body can be told from the air, or it has no contrast.",
        "Look at the image: it may be empty, inverted or of another modality.",
    ),
    381: ErrorText(
        "The tumour does not lie in an image.",
        "Check that the phase covers the tumour; leave it out where it is optional.",
    ),
    382: ErrorText(
        "The bias field of an image cannot be found.",
        "Look at the image: it may have too few slices. Or set `n4 = false`.",
    ),
    383: ErrorText(
        "The program failed on a patient's images.",
        "Report what is shown, without the patient's id; the other patients are not affected.",
    ),
    384: ErrorText(
        "A feature of a patient's images is outside of the range that it can have in the study.",
        "Look at the images and outlines (`check --html`); a right value needs a wider range of the feature in the "
        "study's [[variables]].",
    ),
    388: ErrorText(
        "Nothing was found to make a manifest of.",
        "Name the folder of an export in DICOM. NIfTI and NRRD need no manifest: put them where [images] in site.toml "
        "says, as images/<patient>/<phase>.nii.gz.",
    ),
    389: ErrorText(
        "The contact sheet cannot be written.",
        "Name a new file in a folder that is there and has room, or an earlier contact sheet.",
    ),
}
