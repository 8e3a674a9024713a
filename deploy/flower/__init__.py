"""What we add to Flower: our words for the events that it keeps, and templates that lead to the console."""
