"""Licences of what a model was made from: how the Hub writes them, and what they ask of the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .markdown import Markdown, code, plain

# The identifiers that the Hub takes for `license`; any other licence is `other` with a `license_name`
# (https://huggingface.co/docs/hub/repositories-licenses).
_IDENTIFIERS = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0
artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0
epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1
ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2
llama3.3 llama4 gemma unknown other
"""
HUB_LICENCES = frozenset(_IDENTIFIERS.split())
NON_COMMERCIAL, SHARE_ALIKE, NO_DERIVATIVES = "non-commercial", "share-alike", "no derivatives"
_TELLING = {
    NON_COMMERCIAL: re.compile(r"(^|[-_ ])nc([-_ ]|$)|non-?commercial|research|c-uda"),
    SHARE_ALIKE: re.compile(r"(^|[-_ ])sa([-_ ]|$)|share-?alike|^[al]?gpl|^gfdl|^odbl|cdla-sharing|^eupl|^osl"),
    NO_DERIVATIVES: re.compile(r"(^|[-_ ])nd([-_ ]|$)|no-?deriv"),
}


@dataclass(frozen=True)
class CardInput:
    """Something that a model was made from.

    Attributes:
        role: `teacher`, `start`, `bitext`, `text` (of one language) or `passages`.
        name: Hub id, package, or the last part of a path.
        revision: commit on the Hub, or version of the package.
        license: as its owner or the recipe states it; None if neither does.
        read, kept: pairs of a bitext before and after cleaning.
        local: whether the name is that of a folder on this machine.
    """

    role: str
    name: str
    revision: str | None = None
    license: str | None = None
    read: int | None = None
    kept: int | None = None
    local: bool = False


def demands(licence: str | None) -> set[str]:
    """The demands of a licence on those who use or change the work: non-commercial, share-alike, no derivatives.

    Read from the licence's name; terms that the name does not state are unknown.
    """
    name = (licence or "").casefold()
    return {demand for demand, telling in _TELLING.items() if telling.search(name)}


def hub_metadata(licence: str | None) -> dict[str, str]:
    """`license`, and `license_name` where the Hub has no identifier for it; nothing for None."""
    if licence is None:
        return {}
    name = "-".join(licence.casefold().split())
    if name in HUB_LICENCES:
        return {"license": name}
    return {"license": "other", "license_name": name}


def warnings(licence: str | None, inputs: Sequence[CardInput]) -> list[Markdown]:
    """A sentence, in Markdown, for every input whose licence may bind the model.

    Args:
        licence: the model's own; None if it is not chosen yet.
        inputs: what it was made from.
    """
    said = []
    for one in inputs:
        if one.license is None:
            said.append(f"The licence of {code(one.name)} is not stated. Find it out before you publish or use this model.")
            continue
        asked = sorted(demands(one.license))
        if not asked:
            continue
        sentence = f"{code(one.name)} is under {plain(one.license)}, which is {' and '.join(asked)}."
        lacking = [demand for demand in asked if demand not in demands(licence)]
        if licence is not None and lacking:
            sentence += f" This model's own licence, {plain(licence)}, is not {' and '.join(lacking)}: check that it may be so."
        elif licence is None:
            sentence += " That may bind this model, too: choose its licence accordingly."
        said.append(sentence)
    return list(map(Markdown, said))
