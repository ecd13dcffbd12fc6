"""The data card says what the data has."""

import json
import re
from pathlib import Path

from huggingface_hub import DatasetCard

import recipes

FOLDER = Path(recipes.__file__).parent / "quickstart"
CARD = (FOLDER / "DATA_CARD.md").read_text(encoding="utf-8")


def test_the_table_counts_what_is_in_the_file():
    rows = [json.loads(line) for line in (FOLDER / "cldr_annotations_48.2.jsonl").read_text(encoding="utf-8").splitlines()]
    told = {
        code: (int(concepts.replace(",", "")), int(keywords.replace(",", "")))
        for code, concepts, keywords in re.findall(r"^\| `(\w+)` \|[^|]+\| ([\d,]+) \| ([\d,]+) \|$", CARD, re.MULTILINE)
    }
    codes = {code for row in rows for code in row.keys() - {"id"}}
    assert told == {
        code: (sum(code in row for row in rows), sum(len(row[code]["keywords"]) for row in rows if code in row))
        for code in codes
    }


def test_its_metadata_names_the_licence_that_lies_beside_it():
    data = DatasetCard(CARD).data
    assert data.license_name == "unicode-3.0"
    assert "UNICODE LICENSE V3" in (FOLDER / data.license_link).read_text(encoding="utf-8")
