"""The HTTP side: intake for producers, and what operators read and do; `app` puts it together."""
