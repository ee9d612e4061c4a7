"""server/report: makes matplotlib's SVG fit for a page: no style sheet, no links, no metadata, own ids, words.

The same text serves as a file and inside the page. What matplotlib draws black takes the page's text colour, and
its style attributes become presentation attributes, so that the page needs no permission for inline styles.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_INK = "#000000"
_FONTS = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, selectable, in the reader's own font
    "svg.hashsalt": "fedmvi",  # ids from content, not from chance
    "text.parse_math": False,  # a dollar sign in a site's name is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
}
"""What all figures share."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; to be drawn and written inside `style`."""
    return Figure(figsize=(width, height))


@contextmanager
def style() -> Iterator[None]:
    """The context in which figures are drawn: matplotlib's defaults, not the user's settings, and ours."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as SVG text with a title and a description for those who do not see it; ids start with `name`."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's font draws it, not ours
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - what matplotlib wrote a moment ago
    _drop(root)
    _attributes(root)
    _ids(root, name)
    _words(root, name, title, description)
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def inline(svg: str) -> str:
    """The SVG as it stands inside HTML, where the name space is understood."""
    return svg.replace(f' xmlns="{_SVG}"', "", 1).strip()


def _drop(root: ElementTree.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    root.set("stroke-linejoin", "round")  # what the style sheet said
    root.set("stroke-linecap", "butt")
    root.set("font-family", _FONTS)
    root.set("color", _INK)


def _attributes(root: ElementTree.Element) -> None:
    for element in root.iter():
        declarations = element.attrib.pop("style", "")
        for declaration in declarations.split(";"):
            key, found, value = declaration.partition(":")
            if found and key.strip() != "font-family":
                element.set(key.strip(), value.strip())
        if element.tag == f"{{{_SVG}}}text" and "fill" not in element.attrib:
            element.set("fill", _INK)
        for key in ("fill", "stroke"):
            if element.get(key) == _INK:
                element.set(key, "currentColor")
    background = root.find(f".//{{{_SVG}}}g[@id='patch_1']/{{{_SVG}}}path")
    if background is not None:
        background.set("class", "paper")


def _ids(root: ElementTree.Element, name: str) -> None:
    """Keep only ids that something refers to, and make them the figure's own."""
    text = [value for element in root.iter() for value in element.attrib.values()]
    used = {value[1:] for value in text if value.startswith("#")} | {v[5:-1] for v in text if v.startswith("url(#")}
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier in used:
            element.set("id", f"{name}.{identifier}")
        link = element.attrib.pop(_HREF, None)
        if link is not None:
            element.set("href", f"#{name}.{link[1:]}")
        clip = element.get("clip-path")
        if clip is not None:
            element.set("clip-path", f"url(#{name}.{clip[5:-1]})")


def _words(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}.title {name}.desc")
    for tag, text in (("desc", description), ("title", title)):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}.{tag}"})
        element.text = text
        root.insert(0, element)
