"""Every setting of the pipeline, one model a stage, composed into the flow's single parameter.

The models are frozen and refuse unknown names; a default's reason or cost stands beside it where it has one.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.workspace import Workspace

HUB_HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"

# The layers of MobileNetV2 that may be tapped. They end in ReLU6, so that all features are from 0 to 6.
TAPS = (
    "Conv1_relu",
    "expanded_conv_depthwise_relu",
    *(f"block_{block}_{part}_relu" for block in range(1, 17) for part in ("expand", "depthwise")),
)


class StageSettings(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CatalogSettings(StageSettings):
    """Where the films come from and which are left out."""

    source: str = Field(
        "MovieGenre.csv",
        description="path or address of MovieGenre.csv: http(s), or any that fsspec knows (s3, gs)",
    )
    excluded_genres: tuple[str, ...] = Field(("Adult",), description="films with any of these genres are dropped")


class PosterSettings(StageSettings):
    """How posters are downloaded."""

    connections: int = Field(32, ge=4, le=256, description="open at once, over the parts under way")
    posters_per_part: int = Field(1000, ge=10, description="about; a killed run loses at most the parts under way")
    attempts: int = Field(4, ge=1, le=20, description="tries a poster, where trying again can help")
    backoff_seconds: float = Field(0.5, gt=0, description="first wait between tries; doubles, with jitter")
    connect_timeout_seconds: float = Field(5.0, gt=0, description="to open one connection")
    deadline_seconds: float = Field(30.0, gt=0, description="for one poster: all tries, waits and redirects together")
    max_bytes: int = Field(5_000_000, gt=0, description="larger posters are refused")
    min_side_pixels: int = Field(32, ge=1, description="smaller pictures are placeholders, not posters")
    min_success_rate: float = Field(0.8, ge=0, le=1, description="with fewer posters than this the run stops")
    retry_failed: bool = Field(False, description="ask again for the posters that failed in an earlier run")
    refresh: bool = Field(
        False, description="ask whether the posters that are there have changed (ETag, Last-Modified)"
    )


class DatasetSettings(StageSettings):
    """Which genres are learned, and how films are split and written."""

    min_posters_per_genre: int = Field(1000, ge=1, description="rarer genres are dropped; the article's figure")
    films_with_only_rare_genres: Literal["negative", "drop"] = Field(
        "negative", description="kept without any label, as the article does, or left out"
    )
    validation_fraction: float = Field(0.1, gt=0, lt=0.5, description="of the images, for every choice that is made")
    test_fraction: float = Field(0.1, gt=0, lt=0.5, description="of the images, for the figures that are reported")
    shard_bytes: int = Field(32_000_000, ge=10_000, description="image bytes a TFRecord shard, about")


class FeatureSettings(StageSettings):
    """The frozen backbone."""

    source: Literal["auto", "hub", "wheel"] = Field(
        "auto", description="auto: a cached hub module, else the wheel that set-up fetched, else the hub's own address"
    )
    wheel_dir: Path = Field(Path("data/backbone"), description="where set-up put the wheel (`make backbone`)")
    hub_handle: str = Field(HUB_HANDLE, description="TensorFlow Hub handle or folder of the module")
    engine: Literal["auto", "litert", "tensorflow"] = Field(
        "auto", description="auto: LiteRT on a CPU, where it takes about a quarter of the time; TensorFlow on a GPU"
    )
    batch_size: int = Field(64, ge=1, description="posters a forward pass of TensorFlow's; LiteRT takes one a core")
    taps: tuple[str, ...] = Field(
        ("block_13_expand_relu", "block_16_expand_relu"),
        description="inner layers whose averages are features, too; a wrong name is answered with all of them",
    )

    @field_validator("taps")
    @classmethod
    def _check_taps(cls, taps: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(taps) - set(TAPS))
        if unknown or len(set(taps)) < len(taps):
            raise ValueError(f"expected some of these, each once: {', '.join(TAPS)}")
        return taps


# What a recipe sets; anything given beside it wins.
RECIPES: dict[str, dict[str, Any]] = {
    # 30 times the article's rate, and a head that is regularised enough to bear it. Each part by what it adds:
    # tests/benchmarks/ablation.md.
    "default": {
        "taps": True,
        "hidden_units": 512,
        "loss": "soft_f1",
        "standardise": True,
        "dropout": 0.5,
        "learning_rate": 3e-4,
        "schedule": "cosine",
        "epochs": 20,
        "patience": 10,
        "thresholds": "calibrated",
    },
    # The article's own: raw features of the last layer, a constant rate, no early stop, 0.5 as it comes.
    "seed": {
        "taps": False,
        "hidden_units": 1024,
        "loss": "soft_f1",
        "standardise": False,
        "dropout": 0.0,
        "learning_rate": 1e-5,
        "schedule": "constant",
        "epochs": 30,
        "patience": None,
        "thresholds": "none",
    },
}
RECIPES["seed_bce"] = {**RECIPES["seed"], "loss": "binary_crossentropy"}

RecipeName = Literal["default", "seed", "seed_bce"]
LossName = Literal["soft_f1", "double_soft_f1", "mixed_soft_f1", "sigmoid_f1", "asymmetric", "binary_crossentropy"]
ThresholdMethod = Literal["calibrated", "empirical", "none"]


class TrainingSettings(StageSettings):
    """The multi-label head. The defaults of all but `recipe` and `batch_size` are the recipe's."""

    recipe: RecipeName = Field("default", description="default: the best found here; seed, seed_bce: the article's")
    taps: bool = Field(
        True, description="learn from the averages of `features.taps`, too, or from the last layer alone"
    )
    hidden_units: int = Field(512, ge=1, description="of the one hidden layer; the article's are 1024")
    batch_size: int = Field(256, ge=1, description="the article's; soft-F1 needs several posters of a genre in a batch")
    loss: LossName = Field(
        "soft_f1", description="soft_f1, double_soft_f1, mixed_soft_f1, sigmoid_f1, asymmetric or binary_crossentropy"
    )
    standardise: bool = Field(True, description="scale each feature to mean 0, variance 1 over the training split")
    dropout: float = Field(0.5, ge=0, lt=1, description="on features and on hidden units")
    learning_rate: float = Field(3e-4, gt=0, description="Adam's; where the cosine schedule starts")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine (down to 0) or constant")
    epochs: int = Field(20, ge=1, le=10_000, description="at most")
    patience: int | None = Field(
        10, ge=1, description="epochs without a better validation macro-F1 at a raw 0.5; null: never stop"
    )
    thresholds: ThresholdMethod = Field(
        "calibrated",
        description="where F1 is best on the validation split, by calibrated probabilities or by count (empirical), "
        "folded into the weights to be 0.5; none: where the raw probability is 0.5",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_recipe(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        # Version 0.1 could train the backbone's last block, too; its settings files are still read where they do not.
        given = dict(given)
        if given.pop("fine_tune", 0):
            raise ValueError(
                "fine_tune was removed, it improved validation macro-F1 by 0.001 only: leave it out, or set it to 0"
            )
        given.pop("fine_tune_learning_rate", None)
        recipe = given.get("recipe", "default")
        return {**RECIPES[recipe], **given} if isinstance(recipe, str) and recipe in RECIPES else given

    @property
    def name(self) -> str:
        """The recipe's, marked where it was altered."""
        return self.recipe if self == TrainingSettings(recipe=self.recipe) else f"{self.recipe} (altered)"


# The outputs that a model can have, genres first: each is a setting of its weight, and a file in tasks/outputs.
OUTPUTS = ("genres", "decade", "score", "embedding")


class HeadSettings(StageSettings):
    """What the model says of a film: the weight of each output's loss in the sum. They share the hidden layer."""

    genres: float = Field(1.0, gt=0, description="weight of the genres' loss, which `training.loss` names")
    decade: float | None = Field(
        None,
        gt=0,
        description="weight of the decade's (from the title's year; cross-entropy), such as 0.2; null: none",
    )
    score: float | None = Field(
        None, gt=0, description="weight of IMDB's score's (squared difference in points), such as 0.05; null: none"
    )
    embedding: float | None = Field(
        None,
        gt=0,
        description="weight of an embedding's of its own (supervised contrastive over shared genres), such as 1; "
        "null: the hidden layer is the embedding",
    )
    embedding_size: int = Field(128, ge=2, description="numbers of that embedding")
    embedding_temperature: float = Field(0.2, gt=0, description="of its loss: the lower, the more the nearest count")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs that have a weight, genres first."""
        return tuple(name for name in OUTPUTS if getattr(self, name) is not None)


GENRES_ALONE = HeadSettings()


class EvaluationSettings(StageSettings):
    """What the model is compared with."""

    baselines: tuple[RecipeName, ...] = Field(
        ("seed", "seed_bce"), description="recipes trained on the same split, to compare with"
    )
    label_error_folds: int | None = Field(
        3,
        ge=2,
        le=20,
        description="heads trained on folds of the training split to list likely label errors, each for about as long "
        "as the model's; null: none",
    )


class ExportSettings(StageSettings):
    """The SavedModel."""

    top_k: int = Field(3, ge=1, description="labels a poster in the answer; a film of the catalog has up to three")
    tflite: bool = Field(
        True, description="write classifier.tflite, too, which `predict` and `label` ask: a fifth of TensorFlow's time"
    )
    index: bool = Field(
        True,
        description="write index.parquet, too, which `similar` looks into: a kilobyte for each film of the training "
        "split, with 512 hidden units",
    )


class RegistrySettings(StageSettings):
    """What a model must show to become champion, and where the champion goes."""

    max_macro_f1_drop: float = Field(0.01, ge=0, description="below the champion's, on the same films; 0.01 is noise")
    min_films_to_judge_genre: int = Field(5, ge=1, description="of the test split; a genre found in none has collapsed")
    min_success_rate: float = Field(0.9, ge=0, le=1, description="of the posters; with fewer the champion stays")
    publish_to: str | None = Field(None, description="store to push the champion to: a folder or any fsspec address")


class Settings(StageSettings):
    """All settings of a run."""

    data_dir: Path = Field(Path("data"), description="downloads, shards and features; can be made again")
    artifacts_dir: Path = Field(Path("artifacts"), description="published models")
    wait_seconds: float = Field(0.0, ge=0, description="for another run in data_dir to end; then this one stops")
    seed: int = Field(0, ge=0, lt=2**31, description="of the split, the initial weights and the order of batches")
    catalog: CatalogSettings = CatalogSettings()
    posters: PosterSettings = PosterSettings()
    dataset: DatasetSettings = DatasetSettings()
    features: FeatureSettings = FeatureSettings()
    training: TrainingSettings = TrainingSettings()
    heads: HeadSettings = HeadSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    export: ExportSettings = ExportSettings()
    registry: RegistrySettings = RegistrySettings()

    @model_validator(mode="after")
    def _keep_folders_apart(self) -> "Settings":
        if self.data_dir.resolve() == self.artifacts_dir.resolve():
            raise ValueError(f"data_dir and artifacts_dir must be two folders, both are {self.data_dir}")
        return self

    @property
    def workspace(self) -> Workspace:
        """What lies under `data_dir`."""
        return Workspace(self.data_dir)
