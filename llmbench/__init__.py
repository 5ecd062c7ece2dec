"""Benchmark and profile the kernels and training steps of large language models."""

__version__ = "0.1.0"
