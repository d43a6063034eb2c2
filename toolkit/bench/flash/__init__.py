"""What a plan with weights in flash reads while it runs, and how fast it is by memory."""
