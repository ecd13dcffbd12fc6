"""A card that somebody has edited keeps what is not ours."""

import pytest
import yaml
from huggingface_hub import ModelCard

from hub_cards.card_file import merge_card, named, replace_section, sections, write_card

FRESH = """---
language:
- sw
license: mit
tags:
- optical
---

<!-- optical:summary (ours) -->
# new
<!-- /optical:summary -->

<!-- optical:results -->
new results
<!-- /optical:results -->
"""


def test_what_stands_between_the_marks_changes_and_nothing_else(tmp_path):
    old = FRESH.replace("# new", "# old").replace("new results", "old results")
    edited = (
        old.replace("<!-- optical:results -->", "## By hand\n\nmine\n\n<!-- optical:results -->") + "\n## Thanks\n\nto all\n"
    )
    (tmp_path / "README.md").write_text(edited)
    text = write_card(tmp_path, FRESH).read_text()
    assert text == edited.replace("# old", "# new").replace("old results", "new results")


def test_a_section_that_was_taken_out_stays_out():
    without = FRESH[: FRESH.index("<!-- optical:results")]
    assert "new results" not in merge_card(without, FRESH)


def test_a_card_written_by_hand_stays_and_ours_follows():
    merged = merge_card("# Mine\n\nwords\n", FRESH)
    assert merged.index("words") < merged.index("# new")
    assert ModelCard(merged).data.language == ["sw"]


def test_of_the_metadata_tags_are_joined_and_foreign_keys_are_kept():
    old = "---\nlanguage: de\nlicense: other\nlicense_name: mine\ntags: [own]\nthumbnail: x.png\n---\n\n# Mine\n"
    data = yaml.safe_load(merge_card(old, FRESH).split("---")[1])
    assert data == {"language": ["sw"], "license": "mit", "tags": ["optical", "own"], "thumbnail": "x.png"}
    kept = yaml.safe_load(merge_card(old, FRESH.replace("license: mit\n", "")).split("---")[1])
    assert (kept["license"], kept["license_name"]) == ("other", "mine")


@pytest.mark.parametrize("header", ["---\nlanguage: [sw\n---\n", "---\n- a\n---\n"])
def test_damaged_metadata_is_named_with_its_file(tmp_path, header):
    (tmp_path / "README.md").write_text(header + "# Mine\n")
    with pytest.raises(ValueError, match=r"README.md: the metadata at the top of the card is not .* Mend it"):
        write_card(tmp_path, FRESH)
    assert (tmp_path / "README.md").read_text() == header + "# Mine\n"


def test_a_section_can_be_replaced_by_name():
    text = "<!-- optical:results -->\nother\n<!-- /optical:results -->"
    assert sections(replace_section(FRESH, "results", text))["results"] == text
    assert replace_section(FRESH, "absent", text) == FRESH


def test_a_pushed_card_names_its_repository():
    assert named('load("PATH_OR_ID_OF_THIS_MODEL")', "org/name") == 'load("org/name")'
