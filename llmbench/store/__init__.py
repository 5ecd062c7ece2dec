"""Evidence: records, the columns they are stored in, and the folders of runs."""
