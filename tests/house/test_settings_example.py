"""The example of the settings file is the settings' documentation: every key, every default, nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cmdiff_dicom.settings import DestinationSettings, Settings, Slice, read_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "settings.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
COMMENTED = {("spool", "folder")}
"""Keys without a default of their own stand as comments."""


def slices() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if isinstance(field.annotation, type) and issubclass(field.annotation, Slice)]


def test_the_example_says_what_the_defaults_are():
    assert read_settings(EXAMPLE, {}) == Settings()


def test_every_key_stands_in_the_example():
    written = tomllib.loads(TEXT)
    wanted = {(part, key) for part in slices() for key in Settings.model_fields[part].annotation.model_fields} - COMMENTED
    assert {(part, key) for part in slices() for key in written.get(part, {})} == wanted
    assert "state" in written


@pytest.mark.parametrize("key", [*DestinationSettings.model_fields, "folder"])
def test_every_key_of_a_destination_is_shown(key):
    assert re.search(rf"^# {key} = ", TEXT, re.MULTILINE)


def test_the_destinations_of_the_example_are_valid_once_they_are_no_comment():
    begin = TEXT.index("# [[destinations]]")
    shown = re.sub(r"^# ?", "", TEXT[begin:], flags=re.MULTILINE)
    destinations = Settings.model_validate(tomllib.loads(shown)).destinations
    assert [destination.kind for destination in destinations] == ["dicom", "folder"]


def test_every_key_has_its_words():
    lines = [line for line in TEXT.splitlines() if re.match(r"^(# )?[a-z_]+ = ", line)]
    silent = [line for line in lines if "#" not in line.removeprefix("# ")]
    speaking_for_themselves = r"^(state|# (host|port|name|kind|folder)) = "
    assert [line for line in silent if not re.match(speaking_for_themselves, line)] == []
