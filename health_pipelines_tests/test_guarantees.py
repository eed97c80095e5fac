"""The pages of promises and of security: every test that they name is there and is run."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
PAGE = DOCS / "guarantees.md"
NAME = re.compile(r"`(test_\w+)`")


def test_every_promise_names_its_tests() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| ---", "| Promise |"))]

    assert len(promises) > 30
    assert [row for row in promises if not NAME.search(row)] == []


@pytest.mark.parametrize("page", ["guarantees.md", "security.md"])
def test_every_test_that_is_named_is_there_and_is_run(page: str) -> None:
    there: dict[str, list[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                marks = [ast.unparse(one) for one in node.decorator_list]
                there.setdefault(node.name, []).extend(marks)

    named = set(NAME.findall((DOCS / page).read_text()))
    assert len(named) > 20
    assert named - there.keys() == set()
    assert {name for name in named if any("skip" in mark or "xfail" in mark for mark in there[name])} == set()
