"""What makes parts of the documentation: figures, the state chart, pictures."""
