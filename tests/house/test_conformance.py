"""The conformance statement says what the program does."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "conformance" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_statement_is_what_the_program_would_write_today(generate):
    written = (ROOT / "conformance" / "statement.md").read_text(encoding="utf-8")
    assert written == generate.statement(), "run: python conformance/generate.py"


def test_a_changed_status_changes_the_statement(generate, monkeypatch):
    before = generate.statement()
    monkeypatch.setitem(generate.intake.STATUSES, 0xA900, "never")
    assert generate.statement() != before


def test_every_part_has_its_place_and_every_place_its_part(generate):
    template = (ROOT / "conformance" / "template.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\{\{(\w+)\}\}", template)) == set(generate.PARTS)


def test_the_sections_stand_in_the_order_of_the_standards_template(generate):
    heads = re.findall(r"^## (?:Annex )?(\S+)", generate.statement(), flags=re.MULTILINE)
    assert heads == ["1", "2", "3", "4", "5", "6", "7", "8", "A.A", "A.B", "A.C", "A.D", "A.E"]
