"""What the evidence says: statistics, rates derived from cost, comparisons, verdicts."""
