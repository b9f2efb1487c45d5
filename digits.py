"""The command `digits`: finds the project of the current folder and runs its commands (`pipeline/cli`).

The project comes first on Python's search path: clones that share an environment each run their own code.
"""

import sys
from pathlib import Path

MARKER = Path("pipeline", "cli", "commands.py")  # every project has this file


def find_project(folder: Path) -> Path | None:
    """Returns the project that `folder` belongs to: itself or the nearest parent with the file MARKER."""
    return next((parent for parent in (folder, *folder.parents) if (parent / MARKER).is_file()), None)


def main() -> None:
    try:
        if project := find_project(Path.cwd()):
            sys.path.insert(0, str(project))
        from pipeline.cli.commands import run

        run()
    except KeyboardInterrupt:  # during the imports
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
