"""Made-up text that a model can learn: tokens of Zipf's frequencies that depend on the two before, from a seed.

A token is drawn afresh, or follows the token before, or the one before that (a mixture transition distribution: Raftery
1985, A Model for High-Order Markov Chains). Documents of random length end in token 0 and are packed one after another.
"""

# B sequences of a batch, S tokens of a sequence, N documents, L places of the longest, V vocabulary, F followers

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmbench.kernels.losses import IGNORE

Tokens = NDArray[np.int64]
END = 0  # the token that ends a document, and pads
SHIFT = 2.7  # of the rank in Zipf's law. Source: Mandelbrot 1953, as fitted to English words
SOURCES = (0.2, 0.5, 0.3)  # chances that a token is fresh, follows the one before, the one before that
FOLLOWERS = (0.55, 0.25, 0.13, 0.07)  # chances of the tokens that may follow one
SHORTEST, MEAN, LONGEST = 16, 128, 512  # tokens of a document: exponential above the shortest, cut at the longest


class Batch(NamedTuple):
    """Sequences as a model takes them: tokens and labels BS, lengths B, int64 on the CPU.

    The label of a place is the token after it, -100 where there is none.
    """

    tokens: Tensor
    labels: Tensor
    lengths: Tensor


class Corpus:
    """An endless text over `vocab` tokens; batches of one number, shape and seed are the same everywhere.

    Raises: ValueError for a vocabulary of less than two tokens.
    """

    def __init__(self, vocab: int, *, seed: int = 0) -> None:
        if vocab < 2:
            raise ValueError(f"vocab is {vocab}, wanted at least 2: one token ends documents")
        self.vocab, self.seed = vocab, seed
        weight_V = 1.0 / (np.arange(1, vocab) + SHIFT)
        self._below_V = np.cumsum(weight_V / weight_V.sum())[:-1]
        # Of the token before and of the one before that: the tokens that may follow each, frequent ones more often.
        self.followers_2VF = self._fresh(_uniform(seed, 0).random((2, vocab, len(FOLLOWERS))))

    def batch(self, index: int, *, batch: int, seq_len: int) -> Batch:
        """Batch number `index`, every place with a label: documents packed without regard to where sequences begin."""
        stream = self._stream(_uniform(self.seed, 1, index), batch * (seq_len + 1))
        rows = torch.from_numpy(stream.reshape(batch, seq_len + 1))
        lengths_B = torch.full((batch,), seq_len)
        return Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), lengths_B)

    def ragged(self, index: int, *, batch: int, seq_len: int, shortest: int = 2) -> Batch:
        """Batch number `index` with lengths between `shortest` and `seq_len`, padded with token 0.

        Labels are those of a sequence by itself: its last token has none. The tokens are those of `batch`.
        Raises: ValueError unless 2 <= shortest <= seq_len.
        """
        if not 2 <= shortest <= seq_len:
            raise ValueError(f"shortest is {shortest}, wanted 2 to seq_len = {seq_len}")
        tokens_BS, labels_BS, _ = self.batch(index, batch=batch, seq_len=seq_len)
        share_B = _uniform(self.seed, 2, index).random(batch)
        lengths_B = torch.from_numpy(shortest + (share_B * (seq_len - shortest + 1)).astype(np.int64))
        place_S, length_B1 = torch.arange(seq_len), lengths_B[:, None]
        return Batch(
            tokens_BS.masked_fill(place_S >= length_B1, END),
            labels_BS.masked_fill(place_S + 1 >= length_B1, IGNORE),
            lengths_B,
        )

    def _stream(self, uniform: np.random.Generator, count: int) -> Tokens:
        """The first `count` tokens of documents, one after another."""
        exponential_N = -np.log1p(-uniform.random(count // SHORTEST + 1))
        lengths_N = np.minimum(SHORTEST + exponential_N * (MEAN - SHORTEST), LONGEST).astype(np.int64)
        lengths_N = lengths_N[: np.searchsorted(np.cumsum(lengths_N), count) + 1]
        tokens_LN = self._documents(uniform, int(lengths_N.max()), len(lengths_N))
        last_N = lengths_N - 1
        tokens_LN[last_N, np.arange(len(last_N))] = END
        there_NL = np.arange(len(tokens_LN)) <= last_N[:, None]
        tokens: Tokens = tokens_LN.T[there_NL][:count]
        return tokens

    def _documents(self, uniform: np.random.Generator, length: int, count: int) -> Tokens:
        """tokens_LN: all documents at once, place by place."""
        source_LN = np.searchsorted(np.cumsum(SOURCES)[:-1], uniform.random((length, count)), side="right")
        follower_LN = np.searchsorted(np.cumsum(FOLLOWERS)[:-1], uniform.random((length, count)), side="right")
        tokens_LN = self._fresh(uniform.random((length, count)))
        for i in range(2, length):
            source_N = source_LN[i]
            before_N = tokens_LN[i - np.maximum(source_N, 1), np.arange(count)]
            following_N = self.followers_2VF[np.maximum(source_N, 1) - 1, before_N, follower_LN[i]]
            tokens_LN[i] = np.where(source_N == 0, tokens_LN[i], following_N)
        return tokens_LN

    def _fresh(self, uniform: NDArray[np.float64]) -> Tokens:
        """Tokens of Zipf's frequencies, never the one that ends documents."""
        return np.searchsorted(self._below_V, uniform, side="right").astype(np.int64) + 1


def _uniform(*seed: int) -> np.random.Generator:
    """A generator of which only uniform numbers are taken: numpy keeps that stream from version to version."""
    return np.random.Generator(np.random.PCG64(seed))
