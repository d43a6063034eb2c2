"""What caches of records would do with a text, without running the plan."""
