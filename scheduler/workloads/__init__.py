"""What the generator makes: arrivals and a mix of jobs, described in a file. Pure but for reading that file."""
