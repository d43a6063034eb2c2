"""Pictures and pages that reports are made of."""
