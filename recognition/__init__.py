"""Recognises digits in image files with NumPy, Pillow and LiteRT. Imports no other package of this project."""
