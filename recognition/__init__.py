"""From the bytes of a picture to an answer: NumPy, Pillow and LiteRT, nothing else of this project."""
