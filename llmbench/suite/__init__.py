"""What to measure: suites, their cases, and the catalog that they are checked against."""
