"""Compares versions that answered the same logged pictures as the champion, above all a challenger in its shadow."""

from typing import Any

import numpy as np

from pipeline.evaluation.statistics import mcnemar_p_value
from pipeline.monitoring.drift import Window, title


def compare_with_champion(window: Window, champion: str) -> list[dict[str, Any]]:
    """One row for each version that answered pictures of the champion; `champion`: the number of its version.

    `agreement` is the share of the `pictures` with the same prediction. Of the `labelled` ones, `accuracy` and
    `champion_accuracy` are the shares of correct predictions, and `p_value` is that of McNemar's test; else None.
    """
    groups = window.by_version()
    incumbent = next((version for version in groups if version[1] == champion), None)
    rows = []
    for version in groups if incumbent else ():
        if incumbent is None or version[1] == champion:
            continue
        both = groups[version].merge(groups[incumbent], on="picture", suffixes=("", "_champion"))
        labels = window.labels[both["picture"].to_numpy(int)]
        new, old = (both[column].to_numpy(int) for column in ("prediction", "prediction_champion"))
        if not len(both):
            continue
        right, champion_right = ((found == labels)[labels >= 0] for found in (new, old))
        known = bool(len(right))
        rows.append(
            {
                "challenger": title(version),
                "champion": title(incumbent),
                "pictures": len(both),
                "agreement": float(np.mean(new == old)),
                "labelled": len(right),
                "accuracy": float(right.mean()) if known else None,
                "champion_accuracy": float(champion_right.mean()) if known else None,
                "p_value": mcnemar_p_value(champion_right, right) if known else None,
            }
        )
    return rows


def describe_comparison(row: dict[str, Any]) -> str:
    """A row of `compare_with_champion` as one line."""
    text = (
        f"{row['challenger']} and the champion {row['champion']} agree on {row['agreement']:.2%} of {row['pictures']:,}"
    )
    if not row["labelled"]:
        return f"{text} pictures, of which none is labelled"
    accuracies = f"{row['accuracy']:.2%} and {row['champion_accuracy']:.2%}"
    return f"{text} pictures; correct on {row['labelled']:,} labelled ones: {accuracies}, p = {row['p_value']:.2g}"
