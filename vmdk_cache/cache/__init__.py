"""The engine: decides what is cached, for how long, and turns a request into a volume."""
