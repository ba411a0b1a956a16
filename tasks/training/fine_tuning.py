"""Train the last block of the backbone together with a head that was trained before.

On what the block gets to see, which is computed once for each poster: an epoch takes a fraction of the network.
"""

from collections.abc import Sequence
from dataclasses import replace

import keras

from tasks.features.backbone import Backbone
from tasks.features.cutting import build_tail
from tasks.settings import HeadSettings, TrainingSettings
from tasks.training.examples import Examples
from tasks.training.fitting import Fitted, fit
from tasks.training.outputs import make_outputs


def fine_tune(
    head: keras.Model,
    backbone: Backbone,
    train: Examples,
    validation: Examples,
    vocabulary: Sequence[str],
    settings: TrainingSettings,
    heads: HeadSettings,
    seed: int,
    macro_f1_before: float,
) -> Fitted:
    """Trains head and last block for `settings.fine_tune` epochs, and keeps the weights of the best.

    If none of them is better on the validation split than what was before, that is kept: see `best_epoch`.

    Args:
        head: trained on the backbone's features, nothing folded in; changed.
        backbone: changed in its last block.
        train: what they learn from; its features are those of `tasks.features.cutting.cut_trunk`.
        validation: by which the best epoch is chosen; as well.
        vocabulary: the genres, in the order of the targets.
        settings: the recipe.
        heads: the outputs.
        seed: of dropout and the order of the batches.
        macro_f1_before: of the validation split at a raw 0.5.

    Returns:
        A model from the trunk's features to the outputs, whose weights are those of `head` and `backbone`; its
        `best_epoch` is 0 if they are as they were.
    """
    keras.utils.set_random_seed(seed)
    model = join(backbone, head)
    outputs = make_outputs(vocabulary, settings, heads, train)
    schedule = settings.model_copy(
        update={"epochs": settings.fine_tune, "learning_rate": settings.fine_tune_learning_rate, "patience": None}
    )
    before = model.get_weights()
    fitted = fit(model, outputs, train, validation, schedule, seed)
    if fitted.validation_macro_f1 > macro_f1_before:
        return fitted
    model.set_weights(before)
    return replace(fitted, best_epoch=0, validation_macro_f1=macro_f1_before)


def join(backbone: Backbone, head: keras.Model) -> keras.Model:
    """Returns a model from the features of the trunk to what a head, or a part of it, gives; the weights are shared."""
    tail = build_tail(backbone)
    # A head without taps takes the first of the features.
    return keras.Model(tail.input, head(tail.output[:, : head.input.shape[1]]), name="tail_and_head")
