"""What lies in a sweep's folder, and what it says of a resume."""
