"""The 57 subjects of MMLU in its four groups, and those that are medicine.

Groups as in Hendrycks et al., Measuring Massive Multitask Language Understanding (arXiv 2009.03300), `categories.py` of
https://github.com/hendrycks/test.
"""

from __future__ import annotations

_STEM = """abstract_algebra astronomy college_biology college_chemistry college_computer_science college_mathematics
college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics high_school_biology
high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics high_school_statistics
machine_learning"""
_HUMANITIES = """formal_logic high_school_european_history high_school_us_history high_school_world_history international_law
jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law world_religions"""
_SOCIAL_SCIENCES = """econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations security_studies
sociology us_foreign_policy"""
_OTHER = """anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing
medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology"""

SUBJECT_GROUPS: dict[str, str] = {
    subject: group
    for group, listed in (
        ("STEM", _STEM),
        ("humanities", _HUMANITIES),
        ("social sciences", _SOCIAL_SCIENCES),
        ("other", _OTHER),
    )
    for subject in listed.split()
}
"""Subject to group."""

MEDICAL_SUBJECTS: tuple[str, ...] = (
    "anatomy",
    "clinical_knowledge",
    "college_medicine",
    "human_aging",
    "medical_genetics",
    "nutrition",
    "professional_medicine",
    "virology",
)
"""Subjects of medicine and health, all of the group `other`."""
