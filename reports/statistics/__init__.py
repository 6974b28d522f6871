"""Tables of numbers, as frames: what a report says, before it is drawn or written."""
