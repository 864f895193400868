"""`python -m tlft.ui`: show every run in MLflow's pages, at an address that leads to the runs."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from tlft.config.paths import existing_home
from tlft.errors import ConfigurationError
from tlft.runtime.command_line import add_experiment, command_parser, exit_status


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the pages until Ctrl-C; returns 2 if it was asked for wrongly."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _serve(arguments.port, arguments.experiment, existing_home()))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser("ui", "Show every run in MLflow's pages; the address that is told opens on the runs.")
    parser.add_argument("--port", type=int, default=5000, help="default: 5000")
    add_experiment(parser, "that is opened: ")
    return parser


def _serve(port: int, experiment: str, home: Path) -> int:
    from tlft.tracking.client import experiment_page, tracking_uri

    if not 0 < port < 1 << 16:
        raise ConfigurationError(f"--port {port}: give a number from 1 to 65535")
    page = experiment_page(experiment, home, f"http://127.0.0.1:{port}")
    print(f"open {page} (Ctrl-C ends it)", flush=True)
    os.chdir(home)
    # MLflow starts its server by name.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    store = ["--backend-store-uri", tracking_uri(None, home)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", "--port", str(port), *store])


if __name__ == "__main__":
    sys.exit(main())
