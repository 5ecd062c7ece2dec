"""The model of a training step, a library on its own: text to train on."""

from llmbench.kernels.model.corpus import Batch, Corpus

__all__ = ["Batch", "Corpus"]
