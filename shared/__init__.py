"""What producers and workers both need; knows neither of them."""
