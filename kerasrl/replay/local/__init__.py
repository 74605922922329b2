"""Tables in the memory of this process, for which nothing but NumPy is needed."""
