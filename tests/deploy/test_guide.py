"""deploy: every command that a guide or an explanation writes down is one, with the options that they give it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

import client.cli
import server.cli
import simulation.cli

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md", "deploy/README.md", "deploy/compose/demo.yaml", "docs/reference/network.md",
    *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/tutorial/*.md"))),
    *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/howto/*.md"))),
    *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/explanation/*.md"))),
    "common/deployment/templates/hub-readme.md", "common/deployment/templates/site-readme.md",
)  # fmt: skip
PROGRAMS = {
    "fedmvi-site": typer.main.get_command(client.cli.app),
    "fedmvi-server": typer.main.get_command(server.cli.app),
    "fedmvi-simulate": typer.main.get_command(simulation.cli.app),
}
COMMAND = re.compile(r"(fedmvi-(?:site|server|simulate)) ((?:[a-z]+ ?)[^`|;\n#]*)")


def written(page: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a page, in code blocks and in the text, word by word."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    comments = [line for line in text.splitlines() if line.startswith("#   ")]
    for part in [*blocks, *spans, *comments]:
        for line in part.replace("\\\n", " ").splitlines():
            found = COMMAND.search(line)
            if found:
                yield found[1], found[2].split()


def parsed(page: str) -> Iterator[str]:
    """The commands of a page's blocks that can be typed, as the reader of the guides would type them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines() if language in ("sh", "console") else ():
            found = re.match(r" *(?:\$ )?(fedmvi-(?:site|server|simulate) [^#]*)", line)
            if found:
                yield found[1].strip()


def command_of(program: str, words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and the other words."""
    command, rest = PROGRAMS[program], list(words)
    while isinstance(command, click.Group) and rest:
        assert rest[0] in command.commands, f"{program} {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    return command, rest


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_guide_exist_with_their_options(page: str) -> None:
    commands = list(written(page))
    for program, words in commands:
        command, rest = command_of(program, words)
        options = {name for parameter in command.params for name in parameter.opts}
        for word in rest:
            if word.startswith("--"):
                assert word.split("=")[0] in options, f"{program} {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_guide_are_taken_by_the_program_word_by_word(page: str) -> None:
    """Parsed as if they were typed, and not run: an option, a number of arguments or a choice that is none is found."""
    for line in parsed(page):
        program, *words = shlex.split(line)
        command, rest = command_of(program, words)
        with command.make_context(program, rest):
            pass


def test_the_guides_have_commands_to_look_at() -> None:
    assert sum(len(list(written(page))) for page in PAGES) > 60
