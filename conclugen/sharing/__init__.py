"""Share trained heads: model folders, and import of the released code's weights."""
