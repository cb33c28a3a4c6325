"""Retrieval metrics, one value a query.

`relevance[q, i]` and `gains[q, i]` belong to the i-th answer (best first) of query q. Answers that
are missing count as irrelevant: a short answer is not rewarded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def hit_at(relevance: Bools, k: int) -> Floats:
    """Returns hit@k = 1 where any of the first k answers is relevant, else 0.

    Args:
        relevance: bool `[queries, answers]`.
        k: How many answers count.

    Returns:
        float64 `[queries]`.
    """
    return np.asarray(relevance[:, :k].any(axis=1), np.float64)


def precision_at(relevance: Bools, k: int) -> Floats:
    """Returns precision@k = (relevant among the first k answers) / k.

    Args:
        relevance: bool `[queries, answers]`.
        k: How many answers count; the divisor also where there are fewer.

    Returns:
        float64 `[queries]` in [0, 1].
    """
    return np.asarray(relevance[:, :k].sum(axis=1) / k, np.float64)


def dcg_at(gains: Floats, k: int) -> Floats:
    """Returns DCG@k = sum over i = 1..k of gain_i / log2(i + 1).

    Args:
        gains: float64 `[queries, answers]`, 0 or more.
        k: How many answers count.

    Returns:
        float64 `[queries]`.

    Source:
        Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002.
    """
    first = gains[:, :k]
    discounts = 1.0 / np.log2(np.arange(2, first.shape[1] + 2))
    return np.asarray(first @ discounts, np.float64)


def ndcg_at(gains: Floats, ideal: Floats, k: int) -> Floats:
    """Returns nDCG@k = DCG@k(gains) / DCG@k(ideal).

    Args:
        gains: float64 `[queries, answers]`, 0 or more.
        ideal: float64 `[queries, answers]`: the gains of the best answer possible, best first.
        k: How many answers count.

    Returns:
        float64 `[queries]` in [0, 1]; NaN where nothing relevant exists.
    """
    best = dcg_at(ideal, k)
    result = np.full(len(best), np.nan)
    np.divide(dcg_at(gains, k), best, out=result, where=best > 0)
    return result


def mean_cosine(vectors: npt.NDArray[Any]) -> float:
    """Returns the mean cosine between two different vectors: (|sum|^2 - n) / (n (n - 1)).

    Near 0 for vectors spread over all directions, near 1 when they have collapsed to one.

    Args:
        vectors: float `[n, dim]`, unit norm, n of at least 2.
    """
    count = len(vectors)
    total = vectors.sum(axis=0, dtype=np.float64)
    return float((total @ total - count) / (count * (count - 1)))


def effective_rank(vectors: npt.NDArray[Any]) -> float:
    """Returns exp(H(p)): p are the covariance's eigenvalues over their sum, H is the entropy.

    Between 1 (all variance in one direction) and dim (equal variance in all); 0 when there is no
    variance at all.

    Args:
        vectors: float `[n, dim]`.

    Source:
        Roy and Vetterli, "The effective rank", EUSIPCO 2007 (on singular values; on eigenvalues of
        the covariance here, as is usual for embeddings).
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    eigenvalues = np.linalg.eigvalsh(centred.T @ centred)
    eigenvalues = eigenvalues[eigenvalues > 1e-12 * max(1.0, len(vectors))]
    if not len(eigenvalues):
        return 0.0
    shares = eigenvalues / eigenvalues.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def repeated(vectors: npt.NDArray[Any], cosine: float) -> Bools:
    """Returns which vectors have one before them that is as near as `cosine`.

    Args:
        vectors: float `[n, dim]`, unit norm, best result first.
        cosine: From which cosine on two results show the same.

    Returns:
        bool `[n]`; the first is never a repetition.
    """
    near = vectors @ vectors.T >= cosine
    return np.asarray(np.tril(near, k=-1).any(axis=1), np.bool_)
