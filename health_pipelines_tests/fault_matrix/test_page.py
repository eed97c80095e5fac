"""The page of the matrix is what the matrix says."""

from pathlib import Path

from health_pipelines_tests.fault_matrix.outcomes import Call, Kind
from health_pipelines_tests.fault_matrix.page import page
from health_pipelines_tests.fault_matrix.table import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_page_of_faults_is_made_from_the_matrix() -> None:
    assert PAGE.read_text() == page(), "make faults-page"


def test_the_page_has_a_word_for_every_call_and_every_fault() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    shown = {row[0]: row[1:] for row in rows if len(row) == len(Call) + 1 and row[0] not in ("Fault", "---")}

    assert shown.keys() == {one.name for one in FAULTS}
    words = {word.partition(",")[0] for row in shown.values() for word in row}
    assert words == {kind.value for kind in Kind}
