"""CrowdTwist: what its answers mean."""
