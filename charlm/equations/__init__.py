"""The equations in NumPy: what every model computes, and the names and shapes of its parameters."""
