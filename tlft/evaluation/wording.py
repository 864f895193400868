"""Say a prediction to people: one rule for the pictures of a run, the report, and the command that predicts.

Behind a prediction stands its own probability; where the true class is another one, that one's too.
"""

from __future__ import annotations


def say_probability(probability: float) -> str:
    """Return a probability 0..1 as `88 %`; never as 0 or 100 % where it is not."""
    if 0 < probability < 0.01:
        return "<1 %"
    if 0.99 < probability < 1:
        return ">99 %"
    return f"{100 * probability:.0f} %"


def say_prediction(predicted: str, confidence: float, label: str | None, label_probability: float) -> str:
    """Return `daisy 88 %`, or `daisy 88 %, ants 2 %` where another class is true; None: not known which."""
    own = f"{predicted} {say_probability(confidence)}"
    return own if label in (None, predicted) else f"{own}, {label} {say_probability(label_probability)}"
