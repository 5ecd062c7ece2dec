"""Running: the parent that hands points to workers, the worker that measures them, the journal between them."""
