"""Everything that takes an instance off the road: the Celery workers and the three stages."""
