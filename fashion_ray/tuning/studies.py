"""The earlier studies of product pictures, each as data that jobs/tune.py --study NAME runs. In: nothing. Out: STUDIES.

Options are lines as --set has them. Where a study does not say how it did something, the line has what its framework does by
default; docs/studies.md says what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

THE_TRUNK_AT_HAND = "efficientnet_lite0"
"""Its weights come as a Python package, so every study can be run on it."""

SEARCH_GROUP = "search"
"""Names a study's search among its parts."""

FIVE_FOLDS = tuple(f"fold:{number}/5" for number in range(1, 6))
HALVES = ("fold:1/2", "fold:2/2")

WITHOUT_HOME = "only=masterCategory=Apparel,Accessories,Footwear,Personal Care,Free Items,Sporting Goods"
"""Home has one product."""

SLIGHT = "precision=f32"
"""Networks so small that conversions to bfloat16 cost more than they save."""

PLAIN = (
    "learning_rate_curve=constant", "warmup_epochs=0", "weight_decay=0", "label_smoothing=0", "clip_gradient=0",
    "layer_decay=1", "shift=0", "flip=false", "dropout=0", "patience=0",
)  # fmt: skip
"""Training as the studies had it: one rate throughout, and nothing against overfitting but what they name."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trainings of a study that one figure is about: one, or one a fold."""

    name: str
    settings: tuple[str, ...] = ()
    """Options beside the study's."""

    splits: tuple[str, ...] = ()
    """A training each; none is one training with the study's own sides."""

    theirs: str = ""
    """The study's figure."""

    instead: tuple[str, ...] = ()
    """Further options where --set settles the trunk."""

    keeps_trunk: bool = False
    """Whether --set backbone and weights leave its network as it is, which is no pretrained one."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What an earlier study did: a search, some trainings, or both one after the other."""

    about: str
    settings: tuple[str, ...]
    """Options of all of its trainings."""

    theirs: str = ""
    """What it came to, where that is not said of the groups."""

    space: tuple[str, ...] = ()
    """What its search tried; none where there was no search."""

    instead: tuple[str, ...] = ()
    """Lines in place of the trunks of the space where --set settles the trunk."""

    search: str = "grid"
    trials: int | None = None
    final_epochs: int | None = None
    retrain: bool = False
    """Whether its search ended with a training of the winner."""

    groups: tuple[Group, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be run of it alone."""
        return (*((SEARCH_GROUP,) if self.space else ()), *(group.name for group in self.groups))


def _with(*more: str) -> tuple[str, ...]:
    """The plain recipe with these lines, which replace its own of the same name."""
    named = {line.partition("=")[0] for line in more}
    return (*(line for line in PLAIN if line.partition("=")[0] not in named), *more)


_MASTER = _with(
    "targets=masterCategory", WITHOUT_HOME,
    "split=80/20", "max_per_class=800", "class_rows=Free Items=214;Sporting Goods=50", "flip=true", "shift=4",
    "backbone=vgg16", "input_size=224x224", "pooling=flatten", "head=mlp", "head_widths=50,20", "optimizer=adam",
    "heads_learning_rate=0.001", "batch_size=10", "schedule=heads:10", "patience=5", "monitor=validation_loss",
)  # fmt: skip
_SCRATCH = ("weights=none", "head=linear", "optimizer=adam", "learning_rate=0.001", "batch_size=32")
_SMALL = _with(*_SCRATCH, "targets=articleType", "input_size=32x32", "schedule=all:10")
_RMSPROP = ("optimizer=rmsprop", "momentum=0", "heads_learning_rate=2e-4", "schedule=heads:20", "dropout=0.5")

STUDIES: Mapping[str, Study] = {
    "master-vgg16": Study(
        about="VGG16 with flatten, dense 50 and 20, on six evened-out masterCategories",
        settings=_MASTER,
        groups=(Group(name="vgg16", theirs="accuracy 0.9585, macro F1 0.92"),),
    ),
    "master-vgg16-tuned": Study(
        about="the same with one hidden layer: its width and the learning rate by random search, then 50 epochs",
        settings=(*_MASTER, "head_widths=20", "schedule=heads:5", "patience=0", "monitor=validation_accuracy/masterCategory"),
        theirs="accuracy 0.9447 (width 20, rate 0.001, epoch 36)",
        space=("head_widths=20 40 50", "heads_learning_rate=0.01 0.001 0.0001"),
        search="random", trials=6, final_epochs=50, retrain=True,
    ),
    "article-simplecnn": Study(
        about="four convolutions and three dense layers from scratch, articleType",
        settings=_with(
            *_SCRATCH, "targets=articleType", "backbone=simplecnn", "input_size=224x224", "schedule=all:10", "batch_size=64"
        ),
        groups=(Group(name="simplecnn", theirs="accuracy 0.847, weighted F1 0.840"),),
    ),
    "article-grid24": Study(
        about="two trunks x three rates x two optimizers x two heads, 3 epochs each; then both trunks x both heads, 10 epochs",
        settings=_with(
            "targets=articleType", "schedule=heads:3", "input_size=224x224", "momentum=0.9", "nesterov=false", "flip=true",
            "shift=4", "cached_views=2", "batch_size=64", "monitor=validation_loss",
        ),
        space=(
            "backbone=mobilenet_v2 vgg16", "head=linear batchnorm", "heads_learning_rate=0.1 0.01 0.001", "optimizer=adam sgd",
        ),
        instead=("input_size=160x120 112x84",),
        groups=tuple(
            Group(
                name=f"{trunk}-{short}", theirs=theirs, instead=(f"input_size={size}",),
                settings=(
                    f"backbone={trunk}", f"head={head}", "optimizer=sgd", "heads_learning_rate=0.01", "schedule=heads:10"
                ),
            )
            for trunk, size, figure in (
                ("vgg16", "160x120", "accuracy 0.8998, F1 0.8965"), ("mobilenet_v2", "112x84", "accuracy 0.8975, F1 0.8929"),
            )
            for short, head, theirs in (("fc", "linear", figure), ("batchnorm", "batchnorm", ""))
        ),
    ),
    "three-classes": Study(
        about="dresses, sweaters (for pullovers) and shirts, 1,000 each; small and pretrained networks over folds",
        settings=_with(
            "targets=articleType", "only=articleType=Dresses,Sweaters,Shirts", "min_class_count=1", "flip=true", "shift=4",
            "class_rows=Dresses=640;Sweaters=640;Shirts=640", "input_size=160x120", "pooling=flatten", "head=mlp",
            "head_widths=256", "batch_size=32",
        ),
        groups=(
            Group(
                name="basic-cnn", splits=FIVE_FOLDS, theirs="accuracy 0.30", keeps_trunk=True,
                settings=(
                    "backbone=simplecnn", "weights=none", "head=linear", "head_widths=", "pooling=average", "input_size=80x60",
                    "optimizer=adam", "learning_rate=0.1", "schedule=all:20",
                ),
            ),
            Group(
                name="vgg16-adam", splits=FIVE_FOLDS, theirs="accuracy 0.76",
                settings=("backbone=vgg16", "optimizer=adam", "heads_learning_rate=0.005", "schedule=heads:20,heads:20"),
            ),
            Group(
                name="vgg16-rmsprop", splits=FIVE_FOLDS, theirs="accuracy 0.95", settings=("backbone=vgg16", *_RMSPROP),
            ),
            Group(name="vgg16-halves", splits=HALVES, theirs="accuracy 0.85", settings=("backbone=vgg16", *_RMSPROP)),
            Group(name="resnet50-rmsprop", splits=FIVE_FOLDS, settings=("backbone=resnet50", *_RMSPROP)),
        ),
    ),
    "class30-cnn": Study(
        about="two pairs of convolutions with batch norm and a dense layer from scratch, the label that joins three levels",
        settings=_with(
            *_SCRATCH, "targets=joined_category", WITHOUT_HOME, "split=72/18/10", "input_size=80x60", "schedule=all:10",
            "flip=true",
        ),
        theirs="balance 0.815 of its 30 classes",
        groups=(
            Group(name="colour", settings=("backbone=class30cnn",)), Group(name="grey", settings=("backbone=class30cnn_grey",)),
        ),
    ),
    "fashion-mnist": Study(
        about="MLP, LeNet-5 and ResNet50 on Fashion-MNIST's grey pictures",
        settings=(*_SMALL, "min_class_count=1"),
        groups=(
            Group(name="mlp300", settings=("backbone=mlp300", SLIGHT), theirs="accuracy 0.816"),
            Group(name="lenet5", settings=("backbone=lenet5", SLIGHT), theirs="accuracy 0.86"),
            Group(name="resnet50", settings=("backbone=resnet50",), theirs="accuracy 0.89"),
        ),
    ),
    "catalog-rgb": Study(
        about="the same three networks in colour on the catalog; its grey ones gave one constant answer",
        settings=_SMALL,
        groups=(
            Group(name="mlp300", settings=("backbone=mlp300_rgb", SLIGHT)),
            Group(name="lenet5", settings=("backbone=lenet5_rgb", SLIGHT)),
            Group(name="resnet50", settings=("backbone=resnet50",)),
        ),
    ),
    "trunks": Study(
        about="every family of trunks on one recipe, heads alone",
        settings=("targets=articleType", "schedule=heads:5", "cached_views=2"),
        groups=tuple(
            Group(name=name, settings=(f"backbone={name}",))
            for name in (
                THE_TRUNK_AT_HAND, "efficientnet_b0", "mobilenet_v2", "vgg16", "resnet50", "inception_v3", "legacy_xception"
            )
        ),
    ),
}  # fmt: skip


def defaults(name: str) -> dict[str, object]:
    """The options of jobs/tune.py that --study NAME is short for; what is typed beside it counts more."""
    study = STUDIES[name]
    return {
        "study": name, "search": study.search if study.space else "random", "trials": study.trials,
        "final_epochs": study.final_epochs, "retrain": study.retrain,
    }  # fmt: skip


def way_out(problem: str) -> str:
    """What is said where a study cannot be run as it was: what went wrong, and how to run it with what is at hand."""
    if not problem.startswith("--weights"):
        return problem
    return (
        f"{problem}. A study also runs with --set weights=FILE (weights=FOLDER/{{backbone}}.pth for several trunks), or on "
        f"another trunk: --set backbone={THE_TRUNK_AT_HAND}"
    )
