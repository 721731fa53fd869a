"""Every row of the OTLP requirements has a test that carries its id."""

import re
from pathlib import Path

ROWS = {"T": 14, "H": 18, "G": 12, "J": 12, "D": 29}
"""Transport, HTTP, gRPC, JSON, data model: how many there are of each."""


def test_every_row_has_a_test() -> None:
    names = re.findall(
        r"def test_((?:[A-Z]\d+_)+)", "".join(file.read_text() for file in Path(__file__).parent.glob("*.py"))
    )
    covered = {row for name in names for row in name.strip("_").split("_")}
    assert not {f"{letter}{number}" for letter, count in ROWS.items() for number in range(1, count + 1)} - covered
