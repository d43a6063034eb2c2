"""What a token will read of tables in flash, and how long it takes."""
