"""What a sweep will cost: time, memory and disk."""
