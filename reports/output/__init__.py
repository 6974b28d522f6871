"""Tables and the page of a report: CSV, Parquet, Markdown, LaTeX, HTML, and text for a terminal."""
