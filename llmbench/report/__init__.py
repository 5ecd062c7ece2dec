"""How it is shown: tables and pages made from what `analyze` says."""
