"""The paired gate: two revisions measured in turns by pairs of fresh processes, and judged."""
