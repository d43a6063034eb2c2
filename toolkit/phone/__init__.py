"""What adb reaches: a phone, its storage, its state."""
