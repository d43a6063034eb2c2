"""DejaVu's predictor (Liu et al. 2023): a product of low rank that is trained to label neurons.

score = (x A) B + bias. The authors' loss: cross-entropy, negatives weighted by the share of
positives, plus 0.005. It begins as the least-squares fit of the labels, cut to its rank, so that
few epochs are enough; and it has a bias, which theirs learns without. Both favour it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencl_kernels.formats import Array

RANK = 4  # inputs per column of A
EPOCHS, BATCH, RATE = 8, 256, 1e-3
RIDGE, FEWEST = 1e-3, 0.005  # of the mean eigenvalue; of the weight of negatives
DECAYS = 0.9, 0.999  # Adam's


@dataclass
class Labelled:
    """A [D, r], B [r, F] and bias [F], float32."""

    A: Array
    B: Array
    bias: Array

    @classmethod
    def fit(cls, x_MD: Array, labels_MF: Array, epochs: int = EPOCHS) -> Labelled:
        """To tokens and which of their neurons are wanted (bool)."""
        rank = max(1, x_MD.shape[1] // RANK)
        found = cls(*_squares(x_MD, labels_MF, rank), _logit(labels_MF.mean(axis=0)))
        _train(found, x_MD, labels_MF.astype(np.float32), epochs)
        return found

    def probabilities(self, x_MD: Array) -> Array:
        """Of being wanted, float32 [M, F]."""
        scores = x_MD.astype(np.float32) @ self.A @ self.B + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(scores, -30, 30))), np.float32)


def _squares(x_MD: Array, labels_MF: Array, rank: int) -> tuple[Array, Array]:
    """Least squares, four logits for a whole label: the slope of a sigmoid where it is 1/2."""
    moment = x_MD.T @ x_MD
    moment += RIDGE * np.trace(moment) / len(moment) * np.eye(len(moment), dtype=np.float32)
    centred = labels_MF - labels_MF.mean(axis=0)
    whole = np.linalg.solve(moment, x_MD.T @ centred) * 4
    u, sizes, vt = np.linalg.svd(whole, full_matrices=False)
    roots = np.sqrt(sizes[:rank])
    return (u[:, :rank] * roots).astype(np.float32), (roots[:, None] * vt[:rank]).astype(np.float32)


def _train(net: Labelled, x_MD: Array, labels_MF: Array, epochs: int) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1), always the same way through the tokens."""
    rng, steps = np.random.default_rng(0), 0
    weights = [net.A, net.B, net.bias]
    means = [np.zeros_like(w) for w in weights]
    squares = [np.zeros_like(w) for w in weights]
    for _ in range(epochs):
        order = rng.permutation(len(x_MD))
        for at in range(0, len(order), BATCH):
            rows, steps = order[at : at + BATCH], steps + 1
            slopes = _slopes(net, x_MD[rows], labels_MF[rows])
            for weight, slope, mean, square in zip(weights, slopes, means, squares, strict=True):
                mean += (1 - DECAYS[0]) * (slope - mean)
                square += (1 - DECAYS[1]) * (slope * slope - square)
                first, second = (1 - d**steps for d in DECAYS)
                weight -= RATE * (mean / first) / (np.sqrt(square / second) + 1e-8)


def _slopes(net: Labelled, x_MD: Array, labels_MF: Array) -> tuple[Array, Array, Array]:
    """Of the loss, by A, B and bias."""
    low = x_MD @ net.A
    p = 1 / (1 + np.exp(-np.clip(low @ net.B + net.bias, -30, 30)))
    share = labels_MF.mean() + FEWEST
    error = (p - labels_MF) * np.where(labels_MF > 0, 1, share) / len(x_MD)
    return x_MD.T @ (error @ net.B.T), low.T @ error, error.sum(axis=0)


def _logit(share: Array) -> Array:
    clipped = np.clip(share, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float32)
