"""``python -m documentation`` writes the reference pages anew."""

from documentation.reference import FOLDER, pages


def main() -> None:
    """Write each page whose text has changed."""
    for name, text in pages().items():
        file = FOLDER / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
