"""The live view: one task in each web process reads, and every client receives the newest snapshot."""
