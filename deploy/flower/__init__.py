"""What we add to Flower: our words for what it sees, and the way from its pages to the console."""
