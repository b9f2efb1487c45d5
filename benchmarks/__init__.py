"""What measures: scripts that print tables; run from the repository's root."""
