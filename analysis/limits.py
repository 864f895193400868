"""Say what the comparisons of a table leave open: other seeds, other tries, smaller differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.comparison_table import Table
from analysis.evidence import Claim, Evidence
from analysis.narrative import name_sides, phrase, some_percent
from analysis.statistics import ALPHA
from tlft.names import Metric


def warn_of_seeds(claims: Sequence[Claim]) -> str:
    """Warn where a claim rests on too few seeds."""
    few = [claim for claim in claims if claim.comparison.seeds_unknown]
    if not few:
        return ""
    which = "the comparisons"
    if len(few) < len(claims):
        pairs = dict.fromkeys(f"{phrase(claim.new)} with {phrase(claim.old)}" for claim in few)
        which = f"the comparisons of {'; of '.join(pairs)}"
    return f"{which} hold for the networks that were trained, on new images; how other seeds would do is not known."


def describe_correction(table: Table, evidence: Evidence, claims: Sequence[Claim]) -> str:
    """Say how the comparisons are corrected for there being several, and where others are told."""
    others = len(evidence.claims) - len(claims)
    hint = ""
    if others and not table.full:
        subject = "One comparison of another row is" if others == 1 else f"{others} comparisons of other rows are"
        hint = f" {subject} shown by --stats full."
    kinds = {
        "comparisons of the three columns of a row together": {
            claim.family for claim in claims if claim.is_of_the_three
        }
        - {1},
        "comparisons with further columns": {claim.family for claim in claims if not claim.is_of_the_three} - {1},
    }
    families = [f"the {' or '.join(map(str, sorted(sizes)))} {kind}" for kind, sizes in kinds.items() if sizes]
    if not families:
        return hint.strip()
    return (
        f"p is corrected (Holm) for {', and apart from these for '.join(families)}; each interval is as "
        f"strict as its p, and without zero where p is below {ALPHA:g}.{hint}"
    )


def describe_power(claims: Sequence[Claim]) -> str:
    """Say which differences so many images show, by the first comparison of a row."""
    claim = next((claim for claim in claims if not claim.closed_set), None)
    if claim is None or not claim.has_power:
        return ""
    new, old = name_sides(claim)
    comparison, rate = claim.comparison, f"{some_percent(claim.rarer_rate)} %"
    rarer = "either side" if not comparison.difference else old if comparison.difference > 0 else new
    if min(comparison.corrected, comparison.spoiled):
        given = f"{rate} of which {rarer} alone gets right"
    else:
        given = f"none of which {rarer} alone gets right (so that up to {rate} may be, with 95 % confidence)"
    smallest = claim.smallest_difference
    if smallest is None:
        result = "no difference would be found as often as four times in five"
    else:
        decimals = next(decimals for decimals in range(1, 6) if round(100 * smallest, decimals))
        least = math.ceil(100 * smallest * 10**decimals - 1e-9) / 10**decimals
        result = f"a difference of {least:.{decimals}f} points or more, either way, would be found at least four times "
        result += "in five"
    return (
        f"{new} against {old}: with {comparison.images} image{'s' * (comparison.images > 1)}, {given}, {result} "
        f"(McNemar's test at {100 * ALPHA / claim.family:.2g} %)."
    )


def warn_of_choice(table: Table) -> list[str]:
    """Warn where so many ways were tried on the same evaluation images, whether or not they are in the table."""
    notes = [
        f"{row.data}: {sum(row.tries.values())} ways (columns, recipes, weights, architectures) were tried on the same "
        "evaluation images; the best would be chosen on these images, and looks better than it is. Choose by "
        f"--metric {Metric.HOLDOUT_ACCURACY} (data.holdout_fraction)."
        for row in table.rows
        if any(count > 1 for count in row.tries.values())
    ]
    return list(dict.fromkeys(notes))
