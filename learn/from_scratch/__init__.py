"""The multilayer perceptron and one convolution in NumPy alone: the functions behind learn/mathematics.md.

Every public function names its formula in the first line of its docstring. Rows are examples: a batch is
(n, features), images are (n, height, width, channels). Nothing hides in objects: arrays in, arrays out.
"""
