"""What stands in files: written whole, locked, told apart by home, and journals of many lines."""
