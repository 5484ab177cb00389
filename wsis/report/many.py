"""Many claims at once: with 5 % error each, some of two hundred verdicts are luck.

Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995): of the verdicts kept at q = 0.05, one in twenty is
expected to be wrong. The p are two-sided and the sign decides between reproduced and contradicted, which
controls the directional rate as well (Benjamini and Yekutieli, JASA 100, 2005).
"""

from __future__ import annotations

from collections.abc import Sequence

from wsis.report.model import ClaimResult

RATE = 0.05


def correct(claims: Sequence[ClaimResult]) -> float:
    """Fill `q` and `corrected` of all claims of a scale; returns the p up to which a verdict is kept.

    Only claims that a test decides are in the family. Verdicts of numbers without noise stay as they are.
    """
    family = [claim for claim in claims if claim.chance is not None]
    if family:
        from scipy.stats import false_discovery_control  # imported late: scipy costs a second

        for claim, q in zip(family, false_discovery_control([c.chance for c in family]), strict=True):
            claim.q = float(q)
    for claim in claims:
        lost = claim.q is not None and claim.q > RATE
        claim.corrected = "inconclusive" if lost else claim.verdict
    kept = sum(claim.q is not None and claim.q <= RATE for claim in family)
    return RATE * max(1, kept) / max(1, len(family))
