"""A multilayer perceptron and a convolution in NumPy only: the functions that learn/mathematics.md derives.

The docstring of every public function starts with the number of its formula. Examples are rows: a batch has shape
(n, features), images have shape (n, height, width, channels). The functions take and return arrays and keep no state.
"""
