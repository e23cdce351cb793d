"""What the commands for people share: submit, status, jobs, job, cancel and rate."""
