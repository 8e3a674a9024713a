"""The valve: what is due goes to the broker, what was lost comes back, jobs are carried on."""
