"""The live view: one task in each web process reads, every client gets the newest snapshot."""
