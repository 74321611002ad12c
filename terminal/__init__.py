"""Who may write to the screen, and what is taken out of it."""
