"""A page of the documentation whose commands are run as a reader would type them.

`<!-- file: NAME -->` stands before a block that is a file's text, `<!-- edit: NAME -->` before
lines that join the other versions in it. `sh` blocks are commands; a plain block right behind one
is what its last command prints, and all other blocks are not run. Nothing else decides what is
skipped.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cli.terminal import Ended, Terminal

BLOCK = re.compile(
    r"(?:<!-- (?P<what>file|edit): (?P<name>\S+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)```\n", re.S
)
# Where another version goes: behind the last one.
VERSIONS_END = "    },\n    initial_champion"


class Said(NamedTuple):
    """A command line, how it ended, and what the page shows of that."""

    line: str
    ended: Ended
    shown: str


class Page:
    """Carries out a page in a directory; every command has to end well."""

    def __init__(
        self, terminal: Terminal, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._terminal = terminal
        self._directory = directory
        self._environment = dict(environment or {})

    def run(self, text: str, before: Callable[[str], None] = lambda _line: None) -> list[Said]:
        """Do what the page says, in its order; returns every command with what it said.

        `before` hears every command line before it is run.
        """
        said: list[Said] = []
        typed_to = -1
        for block in BLOCK.finditer(text):
            if block["what"] is not None:
                self._write(block["what"], self._directory / block["name"], block["text"])
            elif block["kind"] == "sh":
                for line in block["text"].splitlines():
                    before(line)
                    said.append(Said(line, self._type(line), ""))
                typed_to = block.end()
            elif not block["kind"] and not text[typed_to : block.start()].strip():
                said[-1] = said[-1]._replace(shown=block["text"])
        return said

    def _write(self, what: str, file: Path, text: str) -> None:
        if what == "edit":
            before, end, after = file.read_text().partition(VERSIONS_END)
            assert end, f"{file} has no versions to add to"
            text = before + text + end + after
        file.write_text(text)

    def _type(self, line: str) -> Ended:
        """Run one line: commands with pipes between them, and one file that may take the output."""
        words, target = shlex.split(line), ""
        if words[-2:-1] == [">"]:
            target = words.pop()
            words.pop()
        ended = Ended(0, "", "")
        for command in _split(words):
            ended = self._command(command, ended.out)
            assert ended.code == 0, (command, ended)
        if target:
            (self._directory / target).write_text(ended.out)
        return ended

    def _command(self, words: Sequence[str], stdin: str) -> Ended:
        if words[0] == "stream-app":
            return self._terminal.run(self._directory, *words[1:], stdin=stdin, **self._environment)
        done = subprocess.run(
            words, cwd=self._directory, input=stdin, capture_output=True, text=True, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr)


def _split(words: Sequence[str]) -> list[list[str]]:
    """Return the commands between the pipes."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def shape(text: str) -> list[str]:
    """Return lines of output without what differs from one run, machine or clock to another."""
    times = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "WHEN", text)
    seconds = re.sub(r"\(\d+(\.\d+)? (s|ms|min)\)", "(SECONDS)", times)
    return [re.sub(r" +", " ", line).strip() for line in seconds.splitlines() if line.strip()]
