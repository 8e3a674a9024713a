"""Siebel's REST API: what its answers mean."""
