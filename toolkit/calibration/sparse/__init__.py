"""Feed-forward networks with parts of them left out, for the tokens of a text, in numpy."""
