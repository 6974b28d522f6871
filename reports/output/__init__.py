"""Tables as Markdown, LaTeX, HTML, CSV and text on a terminal."""
