"""The mistakes that a model is surest of. In: its answers and their probabilities. Out: a table of the worst."""

from __future__ import annotations

import pandas as pd

MOST_MISTAKES = 12


def worst_mistakes(rows: pd.DataFrame, *, most: int = MOST_MISTAKES) -> pd.DataFrame:
    """The wrong answers of the highest probability, one of each group of near-duplicates.

    `rows` has product_id, group, truth, predicted and probability of labelled rows; the result has them without the group.
    Equal probabilities come in the order of the ids.
    """
    wrong = rows[rows["truth"] != rows["predicted"]]
    ranked = wrong.sort_values(["probability", "product_id"], ascending=[False, True], kind="stable")
    columns = ["product_id", "truth", "predicted", "probability"]
    return ranked.drop_duplicates("group").head(most)[columns].reset_index(drop=True)
