"""tests/docs: somebody who follows a page: saves its files, makes its changes, types its commands, reads the answers.

A page is followed from its first line to its last:

* a block after "Save this as `FILE`" becomes that file, one after "Add this to `FILE`" is put at its end, one after
  "below `LINE` in `FILE`" under that line;
* "in `FILE` replace `OLD` by `NEW`" is done, and OLD must stand there once;
* each command of a block `sh` must end with 0;
* each command of a block `console`, which begins with `$ `, must say what follows it, where `...` stands for anything;
  if that shows an error's number, the command may end as errors end.

Our commands run in this process, which has loaded them already; what else a page types runs in a shell.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

import client.cli
import server.cli
import simulation.cli
from tests.docs.elsewhere import is_elsewhere

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROGRAMS = {
    "fedmvi-site": client.cli.main,
    "fedmvi-server": server.cli.main,
    "fedmvi-simulate": simulation.cli.main,
}
SECONDS = 900.0
"""The longest that a command in a process of its own may take."""
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
SAVED = re.compile(r"[Ss]ave this as\s+`([^`]+)`")
ADDED = re.compile(r"[Aa]dd this to\s+`([^`]+)`")
BELOW = re.compile(r"below\s+`([^`]+)`\s+in\s+`([^`]+)`")
REPLACED = re.compile(r"[Ii]n\s+`([^`]+)`,?\s+replace\s+`([^`]+)`\s+by\s+`([^`]+)`")


@dataclass(frozen=True)
class Typed:
    """A command of a page, and what the page says that it answers."""

    line: str
    answer: str = ""


@dataclass(frozen=True)
class Said:
    """How a command ended, and all that it said."""

    code: int
    text: str


def sections(text: str) -> Iterator[tuple[str, str, str]]:
    """A page as prose, and the language and text of the block after it; "" for both behind the last block."""
    end = 0
    for found in BLOCK.finditer(text):
        inside = re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)
        yield text[end : found.start()], found[2], inside
        end = found.end()
    yield text[end:], "", ""


def commands(language: str, text: str) -> list[Typed]:
    """The commands of a block, without the comments behind them."""
    if language == "sh":
        lines = text.replace("\\\n", " ").splitlines()
        return [Typed(re.sub(r"\s+#.*", "", line).strip()) for line in lines if line.strip() and line[0] != "#"]
    if language == "console":
        assert text.startswith("$ "), text
        return [Typed(*one.partition("\n")[::2]) for one in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return []


def typed_on(page: Path) -> list[Typed]:
    """All commands of a page."""
    return [one for _, *block in sections(page.read_text(encoding="utf-8")) for one in commands(*block)]


def lacks(said: str, shown: str) -> str:
    """The first part of what is shown, between `...`, that was not said in this order; "" if all was."""
    rest = " ".join(said.split())
    for part in shown.split("..."):
        words = " ".join(part.split())
        if words not in rest:
            return f"{words!r} in {rest!r}"
        rest = rest[rest.index(words) + len(words) :]
    return ""


def process_of(line: str) -> list[str]:
    """What to start for a line that calls one of our programs."""
    program, *words = shlex.split(line)
    return [sys.executable, "-c", f"from {PROGRAMS[program].__module__} import main; main()", *words]


@dataclass
class Reader:
    """Somebody in a folder, with a page.

    Attributes
    ----------
    folder
        Where commands are typed.
    monkeypatch
        For the working folder and the words of a command.
    changes
        What stands on the page -> what is typed and saved instead, such as a place or a key of this machine.
    skipped
        Whether a command of a page is left out; by default what `elsewhere` lists.
    answers
        Beginning of a command -> what is typed when it asks.
    instead
        Beginning of a command -> what is done in its place, as for a daemon, which would not come back.
    after
        Beginning of a command -> what is done when it has ended, as another person would.
    """

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    changes: dict[str, str] = field(default_factory=dict)
    skipped: Callable[[str, str], bool] = is_elsewhere
    answers: dict[str, str] = field(default_factory=dict)
    instead: dict[str, Callable[[str], Said]] = field(default_factory=dict)
    after: dict[str, Callable[[Said], None]] = field(default_factory=dict)

    def follow(self, page: str) -> None:
        """Follow a page below `docs` from its first line to its last."""
        for prose, language, text in sections((DOCS / page).read_text(encoding="utf-8")):
            for file, old, new in REPLACED.findall(prose):
                self._replace(*map(self.here, (file, old, new)))
            self._save(prose.rstrip().split("\n\n")[-1], self.here(text))
            for typed in commands(language, text):
                if not self.skipped(page, typed.line):
                    self._do(Typed(self.here(typed.line), self.here(typed.answer)))

    def type_from(self, page: str, begins: str) -> Said:
        """Type the one command of a page that begins so, which is in `elsewhere` as typed by the test that asks."""
        (typed,) = [one for one in typed_on(DOCS / page) if one.line.startswith(begins)]
        return self._do(Typed(self.here(typed.line), self.here(typed.answer)))

    def here(self, text: str) -> str:
        """What is typed or saved here for a text of the page."""
        if not self.changes:
            return text
        shown = sorted(self.changes, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, shown)), lambda found: self.changes[found[0]], text)

    def _replace(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def _save(self, last: str, text: str) -> None:
        """Save a block as the paragraph before it says."""
        if not text:
            return
        for pattern, add in ((SAVED, False), (ADDED, True)):
            for file in pattern.findall(last):
                path = self.folder / self.here(file)
                path.parent.mkdir(parents=True, exist_ok=True)
                before = path.read_text(encoding="utf-8") if add else ""
                path.write_text(before + text, encoding="utf-8")
        for line, file in BELOW.findall(last):
            self._replace(self.here(file), f"\n{line}\n", f"\n{line}\n{text}")

    def _do(self, typed: Typed) -> Said:
        said = self.type(typed.line)
        if "FEDMVI-" not in typed.answer:
            assert said.code == 0, f"{typed.line}\nended with {said.code}:\n{said.text}"
        missing = lacks(said.text, typed.answer)
        assert not missing, f"{typed.line}\ndid not say {missing}; it said:\n{said.text}"
        return said

    def type(self, line: str) -> Said:
        """Type one line at the folder."""
        deed = next((deed for begin, deed in self.instead.items() if line.startswith(begin)), self.run)
        said = deed(line)
        for begin, then in list(self.after.items()):
            if line.startswith(begin):
                then(said)
        return said

    def in_one_process(self, line: str) -> Said:
        """Run a study, or a demonstration, without Flower."""
        return self.run(f"{line} --in-process")

    def alone(self, line: str) -> Said:
        """Run one of our programs in a process of its own."""
        return self._ended(process_of(line))

    def run(self, line: str) -> Said:
        """Run one line and wait for its end."""
        words = shlex.split(line)
        if words[0] not in PROGRAMS:
            return self._ended(["bash", "-c", line])
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", words)
        answer = next((answer for begin, answer in self.answers.items() if line.startswith(begin)), "")
        code = 0
        with CliRunner().isolation(input=answer) as (_, _, both):
            try:
                PROGRAMS[words[0]]()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            sys.stdout.flush()
            sys.stderr.flush()
            text = both.getvalue().decode()
        return Said(code, text)

    def _ended(self, command: list[str]) -> Said:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout + done.stderr)
