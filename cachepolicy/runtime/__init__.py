"""What happens on a request: the Redis client, the decorators, immutable tables and the local tier."""
