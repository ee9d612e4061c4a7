"""client: what `fedmvi-site check` looks at: site.toml, tables, and the images that a study needs.

Nothing that answers messages loads this: images need libraries that are large.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from client.cohort.check import check_site
from client.cohort.membership import eligible
from client.cohort.problems import worst_first
from client.cohort.reading import read_table
from client.cohort.second_readers import undrawn_tumours
from client.cohort.site import load_site
from client.images.libraries import need_image_libraries
from common.errors import FedmviError
from common.study.loader import load_study
from common.terminal import err

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNREADABLE = frozenset({101, 102, 103, 104, 201, 202, 203})
"""Study or site.toml cannot be used at all, so that nothing else was checked."""


def check_all(
    folder: Path, study: Path | None, *, images: bool = True, html: Path | None = None, workers: int | None = None
) -> list[FedmviError]:
    """All problems of a site's tables and images, worst first.

    Images are looked at where the study has `[preparation]`, of the patients that the study takes; nobody is left
    out for a problem of another.

    Parameters
    ----------
    folder
        The site's folder.
    study
        The study's protocol; without it only the form of the files is checked.
    images
        False leaves the images out.
    html
        Where to write the contact sheet, if at all.
    workers
        Processes for images; as many as there are processors where None.

    Raises
    ------
    FedmviError
        389 the contact sheet cannot be written there, 804 a library for images is not installed. Everything else is
        in the list.
    """
    problems = check_site(folder, study)
    if any(problem.number in UNREADABLE for problem in problems):
        return problems
    protocol = load_study(study) if study else None
    if protocol is None or protocol.preparation is None or not images:
        if html is not None:
            raise FedmviError(389, "images are looked at for a `--study` that has [preparation]")
        return problems
    site = load_site(folder)
    # Imported here: a study of tables needs none of the image libraries.
    need_image_libraries()
    from client.images.checking.contact_sheet import may_write, write_contact_sheet
    from client.images.checking.site_images import inspect_images

    if html is not None:
        may_write(html)
    table, _ = read_table(site, protocol)
    stays = eligible(table)
    taken = [patient for patient, stay in zip(table.patients, stays, strict=True) if stay and patient]
    others = [patient for patient, stay in zip(table.patients, stays, strict=True) if not stay]
    with _progress() as note:
        told, rows = inspect_images(
            site, protocol.preparation, list(dict.fromkeys(taken)), excluded=others, workers=workers, progress=note,
            pictures=html is not None,
        )  # fmt: skip
    if html is not None:
        write_contact_sheet(html, site, protocol, told, rows)
    twice = {row.patient for row in rows for region, reader, _ in row.masks if (region, reader) == ("tumour", 2)}
    if not any(problem.number == 322 for problem in problems):  # else nobody knows whom a split leaves to train on
        told += undrawn_tumours(site, table, protocol, twice)
    return worst_first([*problems, *told])


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, which goes when all is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Looking at images", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
