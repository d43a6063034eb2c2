"""Values as functions of coordinates, until somebody must store them."""
