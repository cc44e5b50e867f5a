"""The words of products' titles, which training may let the network guess. In: titles. Out: a vocabulary, and indices in it.

A title says more of a picture than a label does: the brand, whom it is for, what it is called in that shop. A head that guesses
its words teaches the trunk to see that, and is thrown away: the words are known in training alone, and the model answers from
pictures (learning using privileged information, Vapnik and Vashist 2009; words as classes, Mahajan et al. 2018).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

COLUMN = "productDisplayName"

LEAST_ROWS = 30
"""Training rows that a word stands in, to be learned."""

MOST_WORDS = 4096
"""The commonest are kept."""

MOST_A_TITLE = 12
"""Further words of a title are left out."""

_WORD = re.compile(r"""[^\s,;:!?()\[\]{}"“”/|]+""")
_AROUND = ".'-&+_*#"


def learn(titles: Sequence[str | None]) -> tuple[str, ...]:
    """The words that training can guess, sorted; none if there are fewer than two."""
    counts = Counter(word for title in titles for word in set(_words(title)))
    enough = [word for word, count in counts.items() if count >= LEAST_ROWS]
    kept = sorted(enough, key=lambda word: (-counts[word], word))[:MOST_WORDS]
    return tuple(sorted(kept)) if len(kept) > 1 else ()


def encode(titles: Sequence[str | None], vocabulary: Sequence[str]) -> np.ndarray:
    """Indices of each title's words, int64 (rows, MOST_A_TITLE), each word once; -1 where there are no more."""
    index = {word: number for number, word in enumerate(vocabulary)}
    found = np.full((len(titles), MOST_A_TITLE), -1, dtype=np.int64)
    for row, title in enumerate(titles):
        known = [index[word] for word in dict.fromkeys(_words(title)) if word in index][:MOST_A_TITLE]
        found[row, : len(known)] = known
    return found


def _words(title: str | None) -> list[str]:
    if not title:
        return []
    text = unicodedata.normalize("NFKC", title).casefold().replace("\u2019", "'")
    return [word for found in _WORD.findall(text) if (word := found.strip(_AROUND))]
