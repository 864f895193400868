"""The names under which a run's settings, facts, figures and files are kept in MLflow, and how such names are spelled.

Each is written once, here, and is for good: what an earlier version has kept is read under the same name. Nothing of
the project is imported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


class Tag:
    """Facts about a run. Those that begin with `tlft.` are for programs, the plain ones for people."""

    RUN_KEY = "tlft.run_key"
    SWEEP_KEY = "tlft.sweep"  # is on runs that stand for sweeps, which have no run key, and on no other
    HOME = "tlft.home"  # which `paths.home` the run was begun from, by its id
    HEARTBEAT = "tlft.heartbeat"  # ms since 1970, renewed while the run is computed, for other homes to see
    TURN = "tlft.turn"  # which of the homes that begin a run at once computes it
    SECONDS = "tlft.seconds"
    FOLD = "tlft.fold"  # which fold of a cross-validation a run evaluated (see tlft/records/folds.py)
    DIVERGED = "tlft.diverged"
    DAMAGED = "tlft.damaged"
    ANY_LENGTH = "tlft.key_of_any_length"  # which runs share that differ in their epochs alone
    RESUMED = "tlft.resumed"  # how often another process went on with the run

    # MLflow's pages show every tag but those that begin with `mlflow.`, and JSON is not for people. It cannot be a file
    # of the run: a plan asks for it of every job, and a server would have to be asked for as many files.
    FILES = "mlflow.tlft.files"  # JSON: name -> bytes and SHA-256 of every file that the run must have
    PARAMS = "mlflow.tlft.params"  # JSON: name -> value of what the params that people see do not have as a whole
    FORMER_FILES = "tlft.files"  # as FILES, of an earlier version

    NOTE = "mlflow.note.content"
    RUN_NAME = "mlflow.runName"  # where an early MLflow has it alone
    PARENT = "mlflow.parentRunId"
    SOURCE_NAME = "mlflow.source.name"
    SOURCE_COMMIT = "mlflow.source.git.commit"
    VIEW = "mlflow.sharedViewState."  # of an experiment; is followed by the key of a view that people share
    DATASET_SPLIT = "mlflow.data.context"  # is on the data sets that a run has read, not on the run

    SWEEP = "sweep"  # the name of the sweep's preset
    COLUMN = "column"
    DATA = "data"
    ARCH = "arch"
    WEIGHTS = "weights"
    CONTINUES = "continues"  # the id of the shorter run after whose last epoch this one began
    DEBUG = "debug"
    NEAR_DUPLICATES = "near_duplicates"
    SEEN_BEFORE = "seen_before"  # which evaluation images the run that this one starts from was trained on
    SKIPPED_IMAGES = "skipped_images"
    REFUSED = "refused"  # how many entries the store did not take, and which
    LEFT_OUT_FILES = "left_out_files"  # how many of each kind were no images, or not where images are looked for
    UNMAPPED = "unmapped_classes"  # those of data that no ImageNet output stands for, where there is no class map
    SCORED_ON = "scored_on"  # how many of the classes, where data.unmapped leaves some out
    WHOLE = "tlft.whole"  # the digest of all evaluation images, where some classes' are left out
    TRAINING_IMAGES = "training_images"  # how many, where a network was trained
    GROUPING = "data_group"  # data.group, where it was given
    ORIGIN = "data_origin"  # where the images are from, in the words of data.origin
    SPLIT_FOLDERS = "split_folders"  # which folders were taken; is not there for `train` and `val`

    COMMIT = "commit"
    DIRTY = "dirty"
    TORCH = "torch"
    COMMAND = "command"
    HOST = "host"
    DEVICE = "device"
    HARDWARE = "hardware"
    PRECISION = "precision"  # what `precision=auto` came to; the param of this name has what was asked for
    THREADS = "threads"


def is_reserved_tag(name: str) -> bool:
    """Tell whether a tag is written by tlft or MLflow, so that no user may give one of this name."""
    return name.startswith(("tlft.", "mlflow.")) or name in vars(Tag).values()


class Param:
    """Settings of a run, which make its key: dotted names of the scientific configuration."""

    FORMAT = "format"  # of the key itself
    SEED = "seed"
    PRECISION = "precision"
    ARCH_LIBRARY = "arch.library"
    ARCH = "arch.name"
    MODEL = "model.name"
    WEIGHTS = "model.weights"  # the SHA-256 of the pretrained weights; not there for `model=scratch`
    STAGES = "model.stages"  # how many first stages are pretrained; not there where all or none are
    KEPT_HEAD = "model.head"  # kept, where the head begins as that of the weights; else not there
    BN_MOMENTUM = "model.bn_momentum"
    HEAD = "head.name"
    CLASS_MAP = "class_map"  # the digest of what the 1000 outputs stand for; not there for another head
    TRAINABLE = "training.trainable"
    TRANSFORM = "transform."  # how images become tensors: begins the names of what the weights ask for
    RESIZE = "transform.resize"  # to which length of their short side images are brought

    DATA_TRAIN = "data.train"  # the digest of a split's images, as the next two; not there if nothing is trained
    DATA_EVAL = "data.eval"
    DATA_HOLDOUT = "data.holdout"

    EPOCHS = "training.epochs"
    BATCH_SIZE = "training.batch_size"
    LAST_BATCH = "training.last_batch"  # joined, where a lone image would be left; else not there
    FLIP = "training.flip"
    KEEP = "training.keep"
    OPTIMIZER = "optimizer.name"
    ALGORITHM = "optimizer.algorithm"  # of `optimizer=torch`
    LR = "optimizer.lr"
    MOMENTUM = "optimizer.momentum"
    NESTEROV = "optimizer.nesterov"
    WEIGHT_DECAY = "optimizer.weight_decay"
    BETA1 = "optimizer.beta1"
    BETA2 = "optimizer.beta2"
    EPS = "optimizer.eps"
    LABEL_SMOOTHING = "training.label_smoothing"
    CLIP_NORM = "training.clip_norm"
    DECAY_NORMS = "training.decay_norms"
    ACCUMULATE = "training.accumulate"
    BACKBONE_LR = "training.backbone_lr"
    LAYER_DECAY = "training.layer_decay"
    HEAD_EPOCHS = "training.head_epochs"
    UNFREEZE_EPOCHS = "training.unfreeze_epochs"
    DROPOUT = "training.dropout"
    STOCHASTIC_DEPTH = "training.stochastic_depth"
    IMAGE_SIZE = "training.image_size"  # where other sizes are evaluated; else not there
    CLASS_WEIGHTS = "training.class_weights"
    SAMPLER = "training.sampler"  # data.sampler
    EMA = "training.ema"
    SAM = "training.sam"
    PATIENCE = "training.patience"
    AUGMENT = "augment.name"  # not there for `reference`, as the next
    MIN_SCALE = "augment.min_scale"
    OPERATIONS = "augment.operations"
    MAGNITUDE = "augment.magnitude"
    ALPHA = "augment.alpha"
    SCHEDULE = "schedule.name"
    WARMUP_EPOCHS = "schedule.warmup_epochs"
    STEP_EPOCHS = "schedule.step_epochs"
    GAMMA = "schedule.gamma"


class Metric:
    """Figures of a run."""

    ACCURACY = "eval/accuracy"  # the table's figure: written once, from the kept weights
    IMAGES = "eval/images"  # how many were evaluated, where they are a fold of all
    CLOSED_SET_ACCURACY = "eval/closed_set_accuracy"
    LOSS = "eval/loss"
    BALANCED_ACCURACY = "eval/balanced_accuracy"  # the mean recall, a rare class counting as much as a common one
    MACRO_F1 = "eval/macro_f1"
    TOP5_ACCURACY = "eval/top5_accuracy"  # where there are more than ten classes
    RECALL = "eval/recall/"  # is followed by the name of a class, escaped
    HOLDOUT_ACCURACY = "holdout/accuracy"  # the only figure that a selection may look at
    HOLDOUT_BALANCED_ACCURACY = "holdout/balanced_accuracy"
    TRAIN_LOSS = "train/loss"
    TRAIN_ACCURACY = "train/accuracy"
    TRAIN_LR = "train/lr"
    CURVE_ACCURACY = "curve/eval_accuracy"
    CURVE_LOSS = "curve/eval_loss"
    CURVE_HOLDOUT_ACCURACY = "curve/holdout_accuracy"  # where training.patience looks at the hold-out
    CURVE_HOLDOUT_LOSS = "curve/holdout_loss"

    FEATURES_SECONDS = "time/features_seconds"  # where a frozen part looked at each image once
    TRAIN_SECONDS = "time/train_seconds"
    EVAL_SECONDS = "time/eval_seconds"
    OVERHEAD_SECONDS = "time/overhead_seconds"
    TRAIN_IMAGES_PER_SECOND = "throughput/train_images_per_second"
    SYSTEM = "system/"  # is followed by the name of what one of MLflow's monitors measures
    PEAK_MEMORY = "system/peak_memory_megabytes"  # the most that the run's process has held
    PEAK_GPU_MEMORY = "system/peak_gpu_memory_megabytes"  # the most that its tensors have taken there
    OF_THE_MACHINE = ("time/", "throughput/", SYSTEM)  # how names begin of figures that differ in a repetition

    SWEEP_JOBS = "sweep/jobs"  # of a sweep's run, as the next
    SWEEP_RUNS = "sweep/runs"  # of its jobs, how many runs are finished

    @staticmethod
    def of_column(column: str, row: str = "") -> str:
        """Return the name of a column's mean accuracy in a sweep's run; `row` is `/ROW` if the table has several."""
        return f"column/{column}/accuracy{row}"


class Artifact:
    """Files that are kept of a run."""

    PREDICTIONS = "predictions.parquet"
    CONFIG = "config.yaml"
    RUN_KEY = "run_key.json"
    ENVIRONMENT = "environment.json"
    DIFF = "git.diff"
    CLASS_MAP = "class_map.json"
    LAYERS = "layers.txt"
    NEAR_DUPLICATES = "near_duplicates.json"  # an empty list where none were found
    CONFUSION = "confusion.png"
    RECALLS = "recalls.csv"  # where there are too many classes for a figure each
    PROFILE = "profile.txt"  # with profile=true: where the time of some steps went
    TRACE = "trace.json.gz"  # the same for chrome://tracing
    GALLERY = "gallery.png"
    CURVES = "curves.png"
    CURVE = "curve.png"  # of a sweep's run with sweep.curve
    WEIGHTS = "weights/model.safetensors"
    TRAINING_IMAGES = "training_images.parquet"  # of the network, in this run and those that it starts from
    CHECKPOINT = "checkpoint"  # a folder, with checkpoint.keep=true: what it takes to train a run further
    TRACEBACK = "traceback.txt"  # only of a run that has failed
    REFUSED = "refused.jsonl"  # entries that the store did not take, with its reasons
    REPORT = "report.html"  # of a sweep's run
    COMMAND = "command.txt"  # of a sweep's run whose tag has no room for it
    MODEL_DESCRIPTION = "model.json"  # of a logged model: what it takes to build its network again


DRAWINGS = "synthetic"
"""What the data set is called that tlft draws by itself."""

CURVES = (Metric.TRAIN_LOSS, Metric.TRAIN_ACCURACY, Metric.CURVE_LOSS, Metric.CURVE_ACCURACY)
"""Metrics that are drawn by epoch."""

GROUP = "group"
"""Column of predictions: which images are not independent of each other."""

PROBABILITY = "p/"
"""Is followed by the name of a class: a column of its probabilities, in predictions of every kind."""


def short_id(run_id: str) -> str:
    """Return the beginning of a run's id that people are shown, and that every command takes."""
    return run_id[:8]


LONGEST_TAG = 8000
"""Characters of a tag that MLflow keeps; it refuses a longer one, or cuts it without a word."""

LONGEST_TAG_ANYWHERE = 5000
"""Characters of a tag that earlier MLflow servers keep too."""

LONGEST_EXPERIMENT_TAG = 20_000
"""Characters of a tag of an experiment, such as its note."""

LONGEST_NAME = 250
"""Characters of the name of a tag, param or metric that MLflow keeps."""


def shorten(text: str, longest: int = LONGEST_TAG_ANYWHERE) -> str:
    """Return a text as it is; if it is too long, its beginning and how many characters it has.

    The whole must be kept elsewhere.
    """
    remark = f"... ({len(text):,} characters)"
    return text if len(text) <= longest else text[: longest - len(remark)] + remark


LONGEST_ESCAPED = 238
"""Characters of a name behind `eval/recall/`: MLflow takes 250 for a metric's name, and refuses a longer one."""


def escape_all(names: Sequence[str]) -> list[str]:
    """Spell names as MLflow takes them in a metric's name; no two are the same.

    What is too long ends in a digest of the whole name; those that would collide get their index.
    """
    spelled = [_shorten(re.sub(r"[^\w\-. ]", "_", name), name) for name in names]
    counts = Counter(spelled)
    taken = {name for name, count in counts.items() if count == 1}
    escaped = []
    for index, name in enumerate(spelled):
        unique = name
        if counts[name] > 1:
            unique = _shorten(f"{name}_{index}", f"{index} {names[index]}")
            while unique in taken:  # another class is called so
                unique += "_"
            taken.add(unique)
        escaped.append(unique)
    return escaped


def _shorten(name: str, whole: str) -> str:
    if len(name) <= LONGEST_ESCAPED:
        return name
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{name[:200]}_{digest}"


def natural_order(name: str) -> tuple[Any, ...]:
    """Return what names are sorted by so that numbers in them count as numbers: `2` before `10`, `a9` before `a10`."""
    parts = re.split(r"([0-9]+)", name)  # text and digits in turn
    return tuple((int(part), part) if index % 2 else (part,) for index, part in enumerate(parts))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted names with their values as text, as MLflow's parameters want them."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
            continue
        flat[prefix + name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
