"""Which pictures are nearly the same. In: content hashes and perceptual hashes. Out: pairs, and groups of pairs.

Pairs are found without comparing all with all, by multi-index hashing (Norouzi, Punjani, Fleet 2012, "Fast search in
Hamming space with multi-index hashing"): two hashes that differ in at most `radius` bits differ in at most one bit in at
least one of radius // 2 + 1 bands, so it is enough to compare hashes that agree on a band less one bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

RADIUS = 22
"""Bits of 256 in which the hashes of near-duplicates differ at most.

Calibrated by eye on the public catalog, on pairs at every distance: up to 22 both pictures show one product, or its
colour variant in the same pose; from 24 on unlike shoes and sunglasses come in, and at 30 most pairs are unlike.
"""

BITS = 256
PAIRS_AT_ONCE = 1 << 20

Array = np.ndarray


def pairs(content: pa.Array, perceptual: pa.Array, fresh: Array, *, radius: int = RADIUS) -> Array:
    """Pairs (k, 2) of rows with the same content or near perceptual hashes (64 hexadecimal digits), one of each pair fresh.

    `fresh` is a mask (rows,): rows that are not fresh are not compared with each other. Of rows with equal keys only
    neighbours are paired, so the pairs connect what belongs together and are not every pair.
    """
    found = [_equal(_codes(content)), _equal(_codes(perceptual))]
    unique, rows = _distinct(perceptual, fresh)
    near = _near(unique, fresh[rows], radius)
    found.append(rows[near])
    joined = np.concatenate(found)
    return joined if fresh.all() else joined[fresh[joined].any(axis=1)]


def components(size: int, joined: Array) -> Array:
    """The number (size,) of the connected component of each of `size` nodes, from pairs (k, 2)."""
    links = coo_array((np.ones(len(joined), dtype=np.int8), (joined[:, 0], joined[:, 1])), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1])


def _codes(values: pa.Array) -> Array:
    encoded = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return np.asarray(encoded.dictionary_encode().indices)


def _equal(keys: Array) -> Array:
    """Pairs of rows that follow each other among those with an equal key."""
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _distinct(perceptual: pa.Array, fresh: Array) -> tuple[Array, Array]:
    """The different hashes as bits (n, BITS) of uint8, and a row that has each: a fresh one if there is one."""
    if not len(fresh):
        return np.empty((0, BITS // 8), dtype=np.uint8), np.empty(0, dtype=np.int64)
    codes = _codes(perceptual)
    order = np.lexsort((~fresh, codes))
    first = order[np.unique(codes[order], return_index=True)[1]]
    chosen = perceptual.take(pa.array(first))
    packed = np.frombuffer(bytes.fromhex("".join(chosen.to_pylist())), dtype=np.uint8).reshape(len(first), -1)
    if packed.shape[1] * 8 != BITS:
        raise ValueError(f"perceptual hashes of {packed.shape[1] * 8} bits, expected {BITS}")
    return packed, first


def _near(packed: Array, fresh: Array, radius: int) -> Array:
    """Pairs of different hashes at most `radius` bits apart."""
    if not len(packed) or radius < 1:
        return np.empty((0, 2), dtype=np.int64)
    words = np.ascontiguousarray(packed).view(np.uint64)
    found = [np.empty((0, 2), dtype=np.int64)]
    for keys in _band_keys(packed, radius // 2 + 1):
        alike = np.arange(len(keys)) if fresh.all() else np.flatnonzero(np.isin(keys, keys[fresh]))
        for left, right in _candidates(keys[alike]):
            one, other = alike[left], alike[right]
            distance = np.bitwise_count(words[one] ^ words[other]).sum(axis=1)
            close = distance <= radius
            found.append(np.stack([one[close], other[close]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _band_keys(packed: Array, bands: int) -> Iterator[Array]:
    """One key (n,) a band and bit that is left out of it. Bits are dealt out at random, since neighbours are correlated."""
    bits = np.unpackbits(packed, axis=1)
    for band in np.array_split(np.random.default_rng(0).permutation(BITS), bands):
        weights = np.left_shift(np.uint64(1), np.arange(len(band) % 64 or 64, dtype=np.uint64))
        values = bits[:, band[: len(weights)]].astype(np.uint64) @ weights
        for weight in weights:
            yield values & ~weight


def _candidates(keys: Array) -> Iterator[tuple[Array, Array]]:
    """Positions of all pairs with an equal key, some at a time."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.r_[True, keys[order[1:]] != keys[order[:-1]]])
    sizes = np.diff(np.r_[starts, len(keys)])
    end = np.repeat(starts + sizes, sizes)  # of each position's run
    ahead = end - np.arange(len(keys)) - 1  # rows of the run that follow it
    begin = 0
    while begin < len(keys):
        total = np.cumsum(ahead[begin : begin + PAIRS_AT_ONCE])
        taken = max(1, int(np.searchsorted(total, PAIRS_AT_ONCE, side="right")))
        counts = ahead[begin : begin + taken]
        left = np.repeat(np.arange(begin, begin + taken), counts)
        offset = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        if len(left):
            yield order[left], order[left + 1 + offset]
        begin += taken
