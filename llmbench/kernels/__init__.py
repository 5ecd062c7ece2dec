"""Plain tensor code, importable on its own: it knows nothing of suites, cases or measuring."""
