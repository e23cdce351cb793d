"""In which order a worker looks at its queues; one policy a file."""
