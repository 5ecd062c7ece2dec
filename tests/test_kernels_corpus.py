"""The made-up text: the same from the same seed, of Zipf's frequencies, of the law that it says, and with labels."""

import hashlib
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from llmbench.kernels.losses import IGNORE
from llmbench.kernels.model import Batch, Corpus
from llmbench.kernels.model.corpus import END, FOLLOWERS, LONGEST, MEAN, SHIFT, SHORTEST, SOURCES


def text(corpus: Corpus, tokens: int) -> NDArray[np.int64]:
    """The first tokens of batch 0, as one sequence."""
    found: NDArray[np.int64] = corpus.batch(0, batch=1, seq_len=tokens).tokens[0].numpy()
    return found


def digest(batch: Batch) -> str:
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in batch)).hexdigest()[:16]


def test_a_seed_gives_the_same_text_everywhere() -> None:
    assert digest(Corpus(512, seed=3).batch(7, batch=2, seq_len=100)) == "36de54b7758966e3"
    assert digest(Corpus(512, seed=3).ragged(7, batch=2, seq_len=100)) == "5ef9ca582414e82d"


def test_another_seed_or_number_gives_another_batch() -> None:
    batches = [Corpus(512, seed=s).batch(i, batch=2, seq_len=64) for s in (0, 1) for i in (0, 1)]
    assert len({digest(b) for b in batches}) == 4
    assert not np.array_equal(Corpus(512, seed=0).followers_2VF, Corpus(512, seed=1).followers_2VF)


def test_labels_are_the_next_tokens() -> None:
    batch = Corpus(300).batch(0, batch=3, seq_len=50)
    assert batch.tokens.shape == batch.labels.shape == (3, 50)
    assert batch.tokens.dtype == batch.labels.dtype == batch.lengths.dtype == torch.int64
    assert torch.equal(batch.labels[:, :-1], batch.tokens[:, 1:])
    assert batch.lengths.tolist() == [50, 50, 50]
    assert batch.tokens.is_contiguous() and batch.labels.is_contiguous()
    assert not torch.equal(batch.tokens[0], batch.tokens[1])


def test_ragged_sequences_are_padded_and_without_labels_there() -> None:
    full, batch = (make(4, batch=64, seq_len=20) for make in (Corpus(300).batch, Corpus(300).ragged))
    assert set(batch.lengths.tolist()) == set(range(2, 21)), "some length between 2 and 20 never comes"
    for i, length in enumerate(batch.lengths.tolist()):
        assert torch.equal(batch.tokens[i, :length], full.tokens[i, :length])
        assert (batch.tokens[i, length:] == END).all()
        assert torch.equal(batch.labels[i, : length - 1], full.tokens[i, 1:length])
        assert (batch.labels[i, length - 1 :] == IGNORE).all()
    assert Corpus(300).ragged(0, batch=64, seq_len=20, shortest=20).lengths.unique().tolist() == [20]
    with pytest.raises(ValueError, match="shortest is 21, wanted 2 to seq_len = 20"):
        Corpus(300).ragged(0, batch=1, seq_len=20, shortest=21)


def test_tokens_are_of_the_vocabulary() -> None:
    for vocab in (2, 3, 50, 128_256):
        tokens = text(Corpus(vocab), 5000)
        assert tokens.min() == END and tokens.max() < vocab
    with pytest.raises(ValueError, match="vocab is 1, wanted at least 2"):
        Corpus(1)


def test_documents_have_the_lengths_that_are_said() -> None:
    ends = np.flatnonzero(text(Corpus(512), 200_000) == END)
    lengths = np.diff(ends)
    assert lengths.min() >= SHORTEST and lengths.max() == LONGEST
    assert lengths.mean() == pytest.approx(MEAN, rel=0.05)


def test_fresh_tokens_are_of_zipfs_frequencies() -> None:
    tokens = text(Corpus(1000, seed=2), 400_000)
    count = np.sort(np.bincount(tokens[tokens != END], minlength=1000))[::-1]
    ranks = np.arange(10, 300)
    slope = np.polyfit(np.log(ranks + SHIFT), np.log(count[ranks - 1]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.25)


def law(corpus: Corpus, one: int, two: int) -> NDArray[np.float64]:
    """Chances of the token after `one`, with `two` before that, within a document."""
    weight = np.zeros(corpus.vocab)
    weight[1:] = 1 / (np.arange(1, corpus.vocab) + SHIFT)
    chance = SOURCES[0] * weight / weight.sum()
    for source, before in ((0, one), (1, two)):
        np.add.at(chance, corpus.followers_2VF[source, before], SOURCES[source + 1] * np.array(FOLLOWERS))
    return chance


def entropy(count: NDArray[np.int64]) -> float:
    """Of the frequencies along the last axis, in nats, weighted by how often each row comes."""
    rows = count.sum(-1, keepdims=True)
    share = count / np.maximum(rows, 1)
    return float(-(count * np.log(np.where(share > 0, share, 1.0))).sum() / count.sum())


def test_a_token_follows_the_two_before_as_the_law_says() -> None:
    corpus = Corpus(6, seed=1)
    tokens = text(corpus, 300_000)
    count = np.zeros((6, 6, 6), dtype=np.int64)
    np.add.at(count, (tokens[:-2], tokens[1:-1], tokens[2:]), 1)
    often = 0
    for two in range(1, 6):
        for one in range(1, 6):
            row = count[two, one, 1:].astype(float)  # without the ends, which come when a document is over
            if row.sum() > 2000:
                wanted = law(corpus, one, two)[1:]
                np.testing.assert_allclose(row / row.sum(), wanted, atol=4 * math.sqrt(0.25 / row.sum()))
                often += 1
    assert often > 10


def test_the_two_tokens_before_tell_much_of_the_next() -> None:
    tokens = text(Corpus(64), 400_000)
    unigram = entropy(np.bincount(tokens, minlength=64))
    two = np.zeros((64, 64), dtype=np.int64)
    np.add.at(two, (tokens[:-1], tokens[1:]), 1)
    three = np.zeros((64, 64, 64), dtype=np.int64)
    np.add.at(three, (tokens[:-2], tokens[1:-1], tokens[2:]), 1)
    assert unigram < math.log(64) - 0.3
    assert entropy(two) < unigram - 0.5
    assert entropy(three) < entropy(two) - 0.3
