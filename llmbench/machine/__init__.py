"""The machine that measures: what it is, what it can do at most, and what would disturb a measurement."""
