"""Statistics of rows and what is made of them: softmax, norms."""
