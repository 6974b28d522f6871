"""``python -m sweeps`` is the command ``conclugen``."""

from sweeps.cli import main

if __name__ == "__main__":
    main()
