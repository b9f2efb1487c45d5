"""Recognises digits in image files with NumPy, Pillow and LiteRT. Imports no other package of this project."""

__version__ = "0.1.0"  # of the whole project
