"""The graph: reading and editing it, shapes, the `pocket` ops."""
