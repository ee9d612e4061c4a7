"""common/deployment: the files for people beside keys: a page to read, a systemd unit, a compose file.

A site makes its own from what it installed. What runs as root at a hospital must not be what a coordinator sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from importlib.resources import files
from string import Template

README = "README.md"
SITE_PAPERS: Mapping[str, str] = {
    README: "site-readme.md",
    "fedmvi-site.service": "fedmvi-site.service",
    "compose.yaml": "site-compose.yaml",
}
"""The files of a site, and the templates that they are made from."""

HUB_PAPERS: Mapping[str, str] = {
    README: "hub-readme.md",
    "fedmvi-server.service": "fedmvi-server.service",
    "compose.yaml": "hub-compose.yaml",
}
"""The files of the hub, and the templates that they are made from."""


def papers(templates: Mapping[str, str], fields: Mapping[str, object]) -> dict[str, bytes]:
    """The files with these fields, and the installed version, filled in."""
    words = {name: str(value) for name, value in fields.items()} | {"version": metadata.version("fedmvi")}
    return {name: render(template, words) for name, template in templates.items()}


def render(template: str, words: Mapping[str, str]) -> bytes:
    """A template with its words filled in; KeyError for one that has none."""
    text = files("common.deployment").joinpath("templates", template).read_text(encoding="utf-8")
    return Template(text).substitute(words).encode()
