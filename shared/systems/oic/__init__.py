"""The OIC member sync flow: the mapping as a function, and the flow in Oracle Integration as a client."""
