"""server/report: writes a study's report: figures, tables, one self-contained page, and the nomogram's calculator.

Everything scientific comes from `results.json`; only the section on the run comes from `run.json`. The page holds
its style and figures, asks for nothing over any network (its content security policy forbids it) and needs no
script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import jinja2

from common.files import write_whole
from common.published import format as fmt
from common.published.results import Results
from server.report.acquisition import acquisition
from server.report.analyses import analyses
from server.report.blocks import Bullets, Paragraph, Section, Terms
from server.report.characteristics import characteristics
from server.report.checklists.section import checklists, filled_checklists, write_checklists
from server.report.cohorts import endpoints, missing, patients, sample_size
from server.report.development import choices
from server.report.explanations import hows, what_left
from server.report.expression import expression
from server.report.figures import Picture, draw_all, write_figures
from server.report.headlines import headlines
from server.report.networks import networks
from server.report.nomogram_page import write_nomograms
from server.report.performance import model_sections, survival
from server.report.pooled_and_alone import pooled_and_alone
from server.report.preparation import preparation
from server.report.shift import shift
from server.report.subgroups import subgroups
from server.report.svg import inline
from server.report.tables import write_tables

_HERE = files("server.report")


def write_report(results: Results, run_facts: Mapping[str, object] | None, folder: Path) -> Path:
    """Write `figures/*.svg`, `tables/*.csv`, `nomogram.html` and `report.html` into a run's folder.

    Returns the path of `report.html`; a study without a fitted logistic model has no `nomogram.html`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw_all(results)
    write_figures(pictures, folder / "figures")
    write_tables(results, folder / "tables")
    write_checklists(filled_checklists(results, page_sections(results, run_facts, pictures)), folder / "tables")
    write_nomograms(results, pictures, folder)
    page = folder / "report.html"
    write_whole(page, render(results, run_facts, pictures).encode())
    return page


def render(results: Results, run_facts: Mapping[str, object] | None, pictures: Mapping[str, Picture]) -> str:
    """The page as text: the same results and facts are the same text."""
    css = _HERE.joinpath("report.css").read_text(encoding="utf-8")
    # The template is ours, and all that it is given is escaped, except the style and matplotlib's escaped SVG.
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals["kind"] = lambda block: type(block).__name__
    environment.filters["inline"] = inline
    sections = page_sections(results, run_facts, pictures)
    template = environment.from_string(_HERE.joinpath("report.html").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return template.render(
        results=results,
        title=fmt.plain(results.title),
        css=css,
        style_source=f"sha256-{digest}",
        headlines=headlines(results),
        sections=[*sections, checklists(filled_checklists(results, sections), sections)],
    )


def page_sections(
    results: Results, run_facts: Mapping[str, object] | None, pictures: Mapping[str, Picture]
) -> list[Section]:
    """The page's sections but its summary and its checklists, which lead to them."""
    sections = [
        patients(results),
        characteristics(results),
        endpoints(results),
        sample_size(results),
        missing(results),
        acquisition(results),
        preparation(results),
        model_sections(results, pictures),
        choices(results),
        pooled_and_alone(results),
        shift(results, pictures),
        subgroups(results, pictures),
        networks(results, pictures),
        survival(results, pictures),
        expression(results, pictures),
        analyses(results, pictures),
        _method(results),
        _left(results),
        _provenance(results),
    ]
    if run_facts is not None:
        sections += [_origin(run_facts), _run(run_facts)]
    return [section for section in sections if section.blocks or section.parts]


def _method(results: Results) -> Section:
    return Section("how", "How each number was computed", [Terms(tuple(hows(results)), "how-")])


def _left(results: Results) -> Section:
    intro = (
        "No record of a patient left a site. Each site answered with the sums below over its own patients, after "
        "checking every question against its own rules, and wrote each answer into its own ledger."
    )
    return Section("left", "What left the hospitals", [Paragraph(intro), Bullets(tuple(what_left(results)))])


def _provenance(results: Results) -> Section:
    section = Section("provenance", "Sources and fingerprints")
    if results.sources:
        section.blocks.append(Bullets(tuple(fmt.plain(source) for source in results.sources)))
    section.blocks.append(
        Terms(
            (
                ("Study", results.study_fingerprint),
                ("Code", results.code_fingerprint),
                ("Preparation", results.preparation_fingerprint),
            ),
            code=True,
        )
    )
    data = "Every number is in results.json, and with all its digits in tables/*.csv; the figures are figures/*.svg."
    section.blocks.append(Paragraph(data, "note"))
    return section


# ----------------------------------------------------------------------------------------------------- the run


def _origin(facts: Mapping[str, object]) -> Section:
    """How imported or synthetic sites were made: groups of centres, and what was repaired or set missing."""
    told = facts.get("origin")
    sentences = (
        tuple(fmt.plain(str(s)) for s in told) if isinstance(told, Sequence) and not isinstance(told, str) else ()
    )
    return Section("origin", "How the sites were made", [Bullets(sentences)] if sentences else [])


def _run(facts: Mapping[str, object]) -> Section:
    """What `run.json` says: when, how long, how much traffic, which sites, how often external cohorts were opened."""
    pairs = []
    for key, words in _FACTS.items():
        value = facts.get(key)
        if value is not None:
            pairs.append((words, _fact(key, value)))
    return Section("run", "This run", [Terms(tuple(pairs))] if pairs else [])


_FACTS = {
    "run_id": "Run",
    "submitted": "Submitted",
    "finished": "Finished",
    "seconds": "Duration",
    "rounds": "Rounds",
    "bytes_from_sites": "Sent by the sites",
    "bytes_to_sites": "Sent to the sites",
    "sites": "Libraries and prepared data",
    "external_openings": "Openings of external cohorts so far, by any run",
}
_NOT_LIBRARIES = ("site", "code", "store", "masks", "alone", "tells", "hides", "under_limits", "without")


def _fact(key: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if key == "seconds":
            return fmt.duration(value)
        return fmt.size(value) if key.startswith("bytes") else f"{value:g}"
    if key == "sites" and isinstance(value, Mapping):
        return fmt.plain(_sites(value))
    return fmt.plain(_words(value))


def _sites(receipts: Mapping[str, Mapping[str, object]]) -> str:
    """Library versions, told once for the sites that have the same, and the first digits of each site's data."""
    versions: dict[str, list[str]] = {}
    for site, receipt in sorted(receipts.items()):
        words = ", ".join(f"{k} {v}" for k, v in sorted(receipt.items()) if k not in _NOT_LIBRARIES)
        versions.setdefault(words, []).append(site)
    told = [f"{', '.join(sites)}: {words}" for words, sites in versions.items()]
    data = ", ".join(f"{site} {str(receipt.get('store', ''))[:12]}" for site, receipt in sorted(receipts.items()))
    return "; ".join([*told, f"data: {data}"])


def _words(value: object) -> str:
    """Nested facts as `a: x, y; b: z`."""
    if isinstance(value, Mapping):
        inner = [(str(k), v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))]
        deep = any(isinstance(v, Mapping) for _, v in inner)
        return ("; " if deep else ", ").join(
            f"{k}{':' if isinstance(v, Mapping) else ''} {_words(v)}" for k, v in inner
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_words(v) for v in value)
    return str(value)
