"""The page that a bench writes, and its charts."""
