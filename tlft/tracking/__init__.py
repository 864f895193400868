"""Keep runs in MLflow and find them again; the only package that knows MLflow.

What a run computes is not known here: it arrives as names, numbers and files.
"""

from tlft.tracking.cleaning import deleted_artifacts, orphan_checkpoints
from tlft.tracking.client import HEAVY_IMPORTS, WEIGHTS_FILE, tracking_uri
from tlft.tracking.moving import follow_move, relocate
from tlft.tracking.parents import LONGEST_NOTE, ParentRun
from tlft.tracking.reading import ArtifactReader, load_curves, load_record, load_records
from tlft.tracking.rest import Rest, deliver_rest, verify
from tlft.tracking.run import FILES_TAG, SECONDS_TAG, ActiveRun
from tlft.tracking.server import PATIENCE_SECONDS, ask_early, reason_of, wait_for_server
from tlft.tracking.serving import find_model, register_model, set_served_model
from tlft.tracking.store import Store, find_problems

__all__ = [
    "FILES_TAG",
    "HEAVY_IMPORTS",
    "LONGEST_NOTE",
    "PATIENCE_SECONDS",
    "SECONDS_TAG",
    "WEIGHTS_FILE",
    "ActiveRun",
    "ArtifactReader",
    "ParentRun",
    "Rest",
    "Store",
    "ask_early",
    "deleted_artifacts",
    "deliver_rest",
    "find_model",
    "find_problems",
    "follow_move",
    "load_curves",
    "load_record",
    "load_records",
    "orphan_checkpoints",
    "reason_of",
    "register_model",
    "relocate",
    "set_served_model",
    "tracking_uri",
    "verify",
    "wait_for_server",
]
