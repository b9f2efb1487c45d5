"""Synthetic digits: forms that people write, drawn with a pen, and pages of numbers."""
