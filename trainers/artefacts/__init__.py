"""Models in whatever form they are: opened by one function, and asked by one about encoded images."""
