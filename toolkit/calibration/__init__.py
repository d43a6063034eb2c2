"""What a text says of a model: which neurons it needs, and how to predict them cheaply."""
