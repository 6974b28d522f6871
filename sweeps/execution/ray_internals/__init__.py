"""The one room that names anything private of Ray."""
