"""One machine: the embedded servers, the supervisor, and the whole stack on top of them."""
