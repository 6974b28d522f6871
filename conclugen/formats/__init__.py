"""Feature files of others, by layout: each is read as tables of named columns, which become one feature set."""
