"""How it is measured: clocks, the sampler, caches, checks, memory, power."""
