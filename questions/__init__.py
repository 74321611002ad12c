"""What is asked, and how question files are read."""
