"""Everything that puts an instance on the road: intake, dispatcher, operations."""
