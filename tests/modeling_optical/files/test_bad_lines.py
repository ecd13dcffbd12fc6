"""Files of lines that are made to keep a reader busy."""

import gzip

import pytest

from modeling_optical.files.lines import MAX_BLANK_LINES, json_lines


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n"])
def test_millions_of_blank_lines_are_refused_long_before_their_end(tmp_path, end):
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wb", compresslevel=1) as stream:
        stream.write(end * (MAX_BLANK_LINES + 1_000))
    with pytest.raises(ValueError, match=r"corpus\.jsonl\.gz:1000001: more than 1,000,000 blank lines in a row"):
        list(json_lines(tmp_path / "corpus.jsonl.gz"))


def test_blank_lines_between_records_are_passed_over(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"\n" * 1000 + b"{}\n" + b"\n" * 1000 + b"{}")
    assert len(list(json_lines(tmp_path / "x.jsonl"))) == 2
