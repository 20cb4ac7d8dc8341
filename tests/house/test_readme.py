"""What the README says is so: its commands, files, settings and states are those of the program."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from cmdiff_dicom.cli import build_parser
from cmdiff_dicom.ledger import JobState
from cmdiff_dicom.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = sorted({command.strip() for command in re.findall(r"(?:^|`)cmdiff-dicom ([^`#\n]+)", README, re.MULTILINE)})
MADE_BY_TESTS = "tests/output/"


def test_every_command_is_shown():
    commands = re.findall(r"^    ([a-z]+) ", build_parser().format_help(), re.MULTILINE)
    assert {command.split()[0] for command in SHOWN} == set(commands)


@pytest.mark.parametrize("command", SHOWN)
def test_every_shown_command_is_one_that_the_program_takes(command):
    words = command.split()
    assert build_parser(words[0]).parse_args(words).command


def test_every_named_file_is_there():
    named = re.findall(r"\b(?:deploy|tests|conformance|cmdiff_dicom)/[\w./]*\w", README.replace("tests/ROOM", ""))
    assert [path for path in named if not path.startswith(MADE_BY_TESTS) and not (ROOT / path).exists()] == []


def test_the_administrators_settings_are_valid():
    (shown,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    settings = Settings.model_validate(tomllib.loads(textwrap.dedent(shown)))
    assert settings.destinations[0].wants_commitment


def test_every_state_of_a_job_is_explained_as_it_is_shown():
    (table,) = re.findall(r"^\| job \|.*?\n\n", README, re.DOTALL | re.MULTILINE)
    explained = re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)
    assert explained[1:] == [state.value for state in JobState]
