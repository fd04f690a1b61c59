"""The rows of `versions.py` and what they share."""
