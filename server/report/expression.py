"""server/report: the section on gene expression: genes that differ, their sets, each hospital, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.published import format as fmt
from common.published.results import Estimate, GeneSetRow, Result, Results
from server.report.blocks import Block, Bullets, Drawing, Paragraph, Row, Section, Table
from server.report.contents import estimate, of
from server.report.explanations import status_words
from server.report.expression_figures import group_names
from server.report.figures import Picture, slug
from server.study.enrichment import enriched

_GENES, _SETS, _LEADING = 20, 20, 8
_WEAK = 5
"""So many sets are shown where fewer are enriched."""
_FIT = 4
"""So many hospitals' levels fit a phone."""
_CAUTION = (
    "A gene that differs goes with the group; that it causes anything is not shown, and cells of other kinds in the "
    "sample may make it differ. A gene that is not named may differ all the same: few patients find only large changes."
)
_PREDICTED = (
    "Groups are predictions: some patients are in the wrong one, which makes differences smaller than between patients "
    "with and without invasion."
)


def expression(results: Results, pictures: Mapping[str, Picture]) -> Section:
    """Everything on gene expression; empty in a study that compares none."""
    section = Section("expression", "Gene expression")
    found = of(results, "differential-expression", "expression-by-site", "gene-sets")
    if not found:
        return section
    predicted = any(result.kind == "score" or group_names(result)[2] == "high score" for result in found)
    section.blocks.append(Bullets((*sentences(results), *([_PREDICTED] if predicted else []), _CAUTION)))
    heads = list(dict.fromkeys(result.id.split(".")[1] for result in found))
    for name in heads:
        own = [result for result in found if result.id.split(".")[1] == name]
        title = fmt.plain(own[0].title.partition(", site ")[0])
        blocks = [block for result in own for block in _blocks(result, pictures)]
        section.parts.append(Section(f"expression-{slug(name)}", title, blocks))
    return section


def sentences(results: Results) -> list[str]:
    """For the clinician: what differs and which set is strongest, one sentence a comparison."""
    return [_sentence(results, result) for result in of(results, "differential-expression")]


def _sentence(results: Results, result: Result) -> str:
    title = fmt.plain(result.title)
    if result.status != "estimated":
        return f"{title}: {'refused' if result.status == 'refused' else 'not estimable'}."
    genes, differing, higher, lower = (estimate(result, name) for name in ("genes", "differing", "higher", "lower"))
    strongest = _strongest(results, result)
    if differing is None or not differing.value:
        return f"{title}: none of {_whole(genes)} genes differs at a false discovery rate of 5 %.{strongest}"
    with_what = "a higher score" if result.kind == "score" else _second_group(result)
    return (
        f"{title}: {_whole(differing)} of {_whole(genes)} genes differ at a false discovery rate of 5 %; "
        f"{_whole(higher)} are higher and {_whole(lower)} lower with {with_what}.{strongest}"
    )


def _second_group(result: Result) -> str:
    common, _, second = group_names(result)
    return f"'{f'{common}: ' if common else ''}{second}'"


def _whole(found: Estimate | None) -> str:
    return fmt.number(found.value if found is not None else None)


def _strongest(results: Results, result: Result) -> str:
    """The strongest set of either search, where one is enriched; "" where none was looked for."""
    ends = ("preranked", "over-representation")
    found = [next((r for r in results.results if r.id == f"{result.id}.gene-sets.{end}"), None) for end in ends]
    if all(one is None or one.status != "estimated" for one in found):
        return ""
    ranked, over = (_first(one) for one in found)
    told = ""
    if ranked is not None:
        way = "higher" if (ranked.score or 0.0) > 0 else "lower"
        told += f" By rank the strongest gene set is {_named(ranked)}, whose genes are {way}."
    if over is not None:
        told += f" More of the genes that differ than expected are in {_named(over)}."
    return told or " No gene set is enriched."


def _first(found: Result | None) -> GeneSetRow | None:
    """The strongest set of a search, if it is enriched."""
    row = found.sets[0] if found is not None and found.sets else None
    return row if row is not None and enriched(row) else None


def _named(row: GeneSetRow) -> str:
    return f"'{fmt.plain(row.name)}' (FDR {fmt.p_value(row.adjusted_p)})"


def _blocks(result: Result, pictures: Mapping[str, Picture]) -> list[Block]:
    if result.status != "estimated":
        return [Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)]
    blocks: list[Block] = []
    for end in ("volcano", "levels", "components", "sets"):
        name = slug(f"{result.id}.{end}")
        if name in pictures:
            blocks.append(Drawing(pictures[name], wide=end == "levels" and len(result.sites) > _FIT))
    if result.statistic == "differential-expression":
        blocks.append(_genes(result))
    elif result.statistic == "expression-by-site":
        blocks += _deseq(result)
    else:
        blocks.append(_sets(result))
    return blocks


# --------------------------------------------------------------------------------------------------------- genes


def _genes(result: Result) -> Table:
    """The genes with the smallest p values."""
    columns = result.genes.columns if result.genes is not None else {}
    names = result.genes.genes if result.genes is not None else []
    p = np.array([1.0 if value is None else value for value in columns.get("p", [])])
    rows = []
    for i in np.lexsort((np.arange(len(p)), p))[:_GENES].tolist():
        change = _interval(*(columns[name][i] for name in ("log2_fold_change", "low", "high")))
        mean, own, adjusted = (columns[name][i] for name in ("mean", "p", "adjusted_p"))
        level = fmt.MISSING if mean is None else f"{mean:.1f}"
        rows.append(Row(fmt.plain(names[i]), (change, fmt.small_p(own), fmt.small_p(adjusted), level)))
    head = "Change for 0.1 more of the score (95 % CI)" if result.kind == "score" else "log2 fold change (95 % CI)"
    notes = [fmt.plain(result.note), _left_out(result), _unweighted(result), _patients(result), _where(result)]
    return Table(
        f"Genes with the smallest p values: {fmt.plain(result.title)}",
        ("Gene", head, "p", "FDR", "Mean log2"),
        tuple(rows),
        result.id,
        tuple(note for note in notes if note),
        how=(result.how,),
    )


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return fmt.MISSING
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _left_out(result: Result) -> str:
    words = {
        "genes_absent": "that some hospital has in too few patients",
        "genes_rare": "that are too low in too many",
    }
    return _counted(result, "Genes not compared", words)


def _unweighted(result: Result) -> str:
    words = {
        "genes_sparse": "that too many patients lack",
        "genes_apart": "whose weights would make single patients count for most",
    }
    return _counted(result, "Genes compared without weights", words)


def _counted(result: Result, head: str, words: Mapping[str, str]) -> str:
    told = [f"{_whole(found)} {told}" for name, told in words.items() if (found := estimate(result, name)) is not None]
    return f"{head}: {', '.join(told)}." if told else ""


def _patients(result: Result) -> str:
    told = [f"{fmt.plain(e.term)} {fmt.number(e.value)}" for e in result.estimates if e.name == "patients"]
    whole = f"{result.n} patients" if result.n is not None else ""
    return f"{whole}{': ' if whole and told else ''}{', '.join(told)}." if whole or told else ""


def _where(result: Result) -> str:
    return f"All genes are in tables/{slug(result.id)}.csv."


# ----------------------------------------------------------------------------------------------------- hospitals


def _deseq(result: Result) -> list[Block]:
    """DESeq2 of each hospital's own patients beside the comparison."""
    sites = [e.term for e in result.estimates if e.name == "deseq2_genes"]
    note = fmt.plain(result.note)
    if not sites:
        return [Paragraph(note, "note", result.id, how=(result.how,))] if note else []
    rows = [
        Row(
            fmt.plain(site),
            (
                _whole(estimate(result, "deseq2_genes", site)),
                _whole(estimate(result, "deseq2_differing", site)),
                _decimals(estimate(result, "deseq2_correlation", site)),
                _share(estimate(result, "deseq2_same_sign", site)),
            ),
        )
        for site in sites
    ]
    columns = ("Hospital", "Genes", "Differing, FDR < 5 %", "Correlation of changes", "Same sign")
    notes = (
        "Each hospital's own patients by DESeq2 (Love et al., Genome Biol 2014;15:550), another method and far fewer "
        "patients: correlation is that of its changes with the comparison's, same sign the share among the genes that "
        "differ in the comparison.",
        note,
        _where(result) if result.genes is not None else "",
    )
    told = tuple(one for one in notes if one)
    return [Table("Sensitivity: DESeq2 at each hospital", columns, tuple(rows), result.id, told, how=(result.how,))]


def _decimals(found: Estimate | None) -> str:
    return fmt.MISSING if found is None or found.value is None else f"{found.value:.2f}"


def _share(found: Estimate | None) -> str:
    return fmt.MISSING if found is None else fmt.share(found.value)


# --------------------------------------------------------------------------------------------------------- sets


def _sets(result: Result) -> Block:
    ranked = result.kind == "preranked"
    shown = result.sets[: max(_WEAK, min(_SETS, sum(map(enriched, result.sets))))]
    rows = tuple(Row(fmt.plain(row.name), _set_cells(row, ranked=ranked)) for row in shown if ranked or row.leading)
    if not rows:
        return Paragraph(f"{fmt.plain(result.title)}. {fmt.plain(result.note)}", "note", result.id, how=(result.how,))
    first = ("Enrichment score", "Normalised") if ranked else ("Odds ratio",)
    last = "Leading edge" if ranked else "Genes that differ"
    columns = ("Gene set", "Genes", *first, "p", "FDR", last)
    notes = (fmt.plain(result.note), f"All sets, and all their genes, are in tables/{slug(result.id)}.csv.")
    return Table(fmt.plain(result.title), columns, rows, result.id, notes, how=(result.how,), listing=True)


def _set_cells(row: GeneSetRow, *, ranked: bool) -> tuple[str, ...]:
    more = ", ..." if len(row.leading) > _LEADING else ""
    leading = f"{', '.join(fmt.plain(gene) for gene in row.leading[:_LEADING])}{more}" or fmt.MISSING
    scores = [fmt.MISSING if score is None else f"{score:.2f}" for score in (row.score, row.normalised)]
    strength = scores if ranked else (fmt.ratio(row.score),)
    return (str(row.size), *strength, fmt.small_p(row.p), fmt.small_p(row.adjusted_p), leading)
