"""The command `poster-genres`, and `python -m flows`: signals are handled before the long imports."""

from flows.interruption import ending_on_signals


def main() -> None:
    """Runs the command line."""
    with ending_on_signals():
        from flows.cli import main as run_command

        run_command()


if __name__ == "__main__":
    main()
