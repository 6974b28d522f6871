"""Blocks and command lines of a page."""

from documentation.blocks import blocks, command_lines, mentioned_commands

PAGE = """\
# Page

Use `conclugen demo`, or `conclugen sweep run CONFIG --set KEY=VALUE`.

<!-- run -->
```bash
conclugen sweep run a.yaml \\
    --out runs/a            # it takes a while
ray exec c.yaml 'conclugen sweep run b.yaml --out b'
echo conclugenial
```

<!-- file: a.yaml -->
```yaml
name: a
```

```text
nothing
```
"""


def test_a_block_knows_its_line_its_language_and_the_comment_above_it() -> None:
    found = [(block.line, block.language, block.note, block.file) for block in blocks(PAGE)]
    assert found == [(7, "bash", "run", None), (15, "yaml", "file: a.yaml", "a.yaml"), (19, "text", "", None)]


def test_command_lines_are_joined_and_found_within_other_commands() -> None:
    (block, *_) = blocks(PAGE)
    first, second = command_lines(block)
    assert first.split() == ["conclugen", "sweep", "run", "a.yaml", "--out", "runs/a", "#", "it", "takes", "a", "while"]
    assert second == "conclugen sweep run b.yaml --out b"


def test_a_mention_ends_where_its_placeholders_begin() -> None:
    assert list(mentioned_commands(PAGE)) == ["conclugen demo", "conclugen sweep run"]
