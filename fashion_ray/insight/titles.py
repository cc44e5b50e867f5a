"""What the titles say. In: titles, labels, folds. Out: probabilities of labels for titles that the model has not seen.

Multinomial naive Bayes over TF-IDF weights of words (scikit-learn): like the head of the pictures it is made of sums, so it
takes moments, and one wrong label among many moves it little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fashion_ray.insight.heads import softmax, temperature

Array = np.ndarray

SMOOTHING = 0.01
"""Added to the weight of every word in every class."""


def out_of_sample(titles: Sequence[str | None], labels: Array, folds: Array, classes: int) -> Array:
    """Probabilities (rows, classes) of each row by the model of the other folds; equal ones where a title has no known word."""
    words = _words(titles)
    scores = np.zeros((len(labels), classes), dtype=np.float32)
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        scores[held] = _scores(words[~held], labels[~held], words[held], classes)
    return _probabilities(scores, words, temperature(scores, labels))


def answers(known: Sequence[str | None], labels: Array, classes: int, asked: Sequence[str | None]) -> Array:
    """Probabilities (asked, classes) for other titles by the model of all that are known."""
    words = _words([*known, *asked])
    own, other = words[: len(known)], words[len(known) :]
    sharpness = temperature(_scores(own, labels, own, classes), labels) if len(known) else 1.0
    return _probabilities(_scores(own, labels, other, classes), other, max(1.0, sharpness))


def _words(titles: Sequence[str | None]) -> Any:
    """TF-IDF (titles, words) as a sparse matrix; the words come from all titles, since that needs no labels."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [title or "" for title in titles]
    vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True, strip_accents="unicode", dtype=np.float32)
    try:
        return csr_array(vectorizer.fit_transform(texts))
    except ValueError:  # no word stands in two titles
        return csr_array((len(texts), 1), dtype=np.float32)


def _scores(words: Any, labels: Array, asked: Any, classes: int) -> Array:
    """Log probabilities (asked, classes), up to a constant a row; very low for classes that have no row."""
    from sklearn.naive_bayes import MultinomialNB

    scores = np.full((asked.shape[0], classes), -1e3, dtype=np.float32)
    if len(labels) and asked.shape[0]:
        model = MultinomialNB(alpha=SMOOTHING).fit(words, labels)
        scores[:, model.classes_] = model.predict_joint_log_proba(asked)
    return scores


def _probabilities(scores: Array, words: Any, sharpness: float) -> Array:
    found = softmax(scores, sharpness)
    found[np.diff(words.indptr) == 0] = 1 / scores.shape[1]
    return found
