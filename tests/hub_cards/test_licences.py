"""What licences ask of a model, told by their names."""

import pytest

from hub_cards.licences import CardInput, demands, hub_metadata, warnings


@pytest.mark.parametrize(
    ("licence", "asked"),
    [
        ("apache-2.0", set()),
        ("cc-by-4.0", set()),
        ("unicode-3.0", set()),
        ("cc-by-nc-4.0", {"non-commercial"}),
        ("CC BY-NC-SA 4.0", {"non-commercial", "share-alike"}),
        ("cc-by-sa-3.0", {"share-alike"}),
        ("cc-by-nc-nd-4.0", {"non-commercial", "no derivatives"}),
        ("gpl-3.0", {"share-alike"}),
        ("odbl", {"share-alike"}),
        ("fair-noncommercial-research-license", {"non-commercial"}),
        (None, set()),
    ],
)
def test_demands(licence, asked):
    assert demands(licence) == asked


def test_a_free_model_from_bound_data_is_warned_about_and_a_bound_one_is_told_only():
    data = [CardInput("bitext", "x.tsv", license="cc-by-nc-4.0")]
    assert warnings("mit", data) == [
        "`x.tsv` is under cc-by-nc-4.0, which is non-commercial. This model's own licence, mit, is not non-commercial: check "
        "that it may be so."
    ]
    assert warnings("cc-by-nc-4.0", data) == ["`x.tsv` is under cc-by-nc-4.0, which is non-commercial."]
    assert "choose its licence accordingly" in warnings(None, data)[0]


def test_data_without_a_stated_licence_is_warned_about_and_free_data_is_not():
    (warning,) = warnings("mit", [CardInput("bitext", "x.tsv"), CardInput("teacher", "t", license="mit")])
    assert warning.startswith("The licence of `x.tsv` is not stated.")


def test_a_licence_that_the_hub_has_no_identifier_for_is_other_with_a_name():
    assert hub_metadata("My Own Licence") == {"license": "other", "license_name": "my-own-licence"}
