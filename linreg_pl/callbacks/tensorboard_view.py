"""Adds what TensorBoard alone shows: curves that follow from the others, charts of several curves, hyper-parameters.

    convergence/log10_train_loss, …/log10_val_loss, …/log10_gap   logarithms, as TensorBoard forgets a logarithmic axis
    val/rmse                                                      square root of val/mse

TensorBoard sorts the groups of curves by name, so that `convergence` comes first on its first page.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo


def with_derived(values: Mapping[str, float]) -> dict[str, float]:
    """Returns the values of a point, and those that follow from them; 0 has no logarithm."""
    logarithms = {
        "convergence/log10_train_loss": values.get("train/loss", 0.0),
        "convergence/log10_val_loss": values.get("val/loss", 0.0),
        "convergence/log10_gap": values.get("gap/objective", 0.0),
    }
    derived = {name: math.log10(value) for name, value in logarithms.items() if value > 0}
    if "val/mse" in values:
        derived["val/rmse"] = math.sqrt(values["val/mse"])
    return {**values, **derived}


def layout(target_names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """Returns the charts of the tab Custom Scalars, in the form of `SummaryWriter.add_custom_scalars`.

    TensorBoard joins the layouts of all runs. Charts that are equal become one, so these hardly depend on the run.

    Args:
        target_names: Names of the targets, as the curves have them.
    """
    charts = {"W": "params/W", "b": "params/b"}  # regular expressions, which match the beginnings of names
    if len(target_names) > 1:
        charts = {f"W, {name}": f"params/W(/.*)?/{re.escape(name)}$" for name in target_names} | {"b": "params/b"}
    logarithms = [f"convergence/log10_{name}" for name in ("train_loss", "val_loss", "gap")]
    return {
        "convergence": {"log10 of the losses and of the gap": ["Multiline", logarithms]},
        "coefficients": {title: ["Multiline", [names]] for title, names in charts.items()},
        "loss": {"training and validation": ["Multiline", ["train/loss", "val/loss"]]},
    }


def hyper_parameter_summaries(values: Mapping[str, Any], metrics: Sequence[str]) -> list[Summary]:
    """Returns the summaries of the tab HParams: the names, the values, and that the run is complete.

    The tab shows at first the five hyper-parameters that come first. It sorts them by name, after those that are
    marked to differ between runs.

    Args:
        values: The hyper-parameters; those of other types are written as text.
        metrics: The curves whose last points are shown beside them.
    """
    first = {"learning_rate", "l2", "max_epochs", "momentum", "schedule"}
    kinds = {"bool_value": "DATA_TYPE_BOOL", "number_value": "DATA_TYPE_FLOAT64", "string_value": "DATA_TYPE_STRING"}
    infos, start = [], SessionStartInfo()
    for name, value in values.items():
        is_number = isinstance(value, int | float)
        kind = "bool_value" if isinstance(value, bool) else "number_value" if is_number else "string_value"
        setattr(start.hparams[name], kind, value if kind != "string_value" else str(value))
        infos.append(api_pb2.HParamInfo(name=name, type=kinds[kind], differs=name in first))
    shown = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics]
    contents = {
        metadata.EXPERIMENT_TAG: HParamsPluginData(
            experiment=api_pb2.Experiment(hparam_infos=infos, metric_infos=shown)
        ),
        metadata.SESSION_START_INFO_TAG: HParamsPluginData(session_start_info=start),
        metadata.SESSION_END_INFO_TAG: HParamsPluginData(session_end_info=SessionEndInfo(status="STATUS_SUCCESS")),
    }
    return [
        Summary(
            value=[
                Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)
            ]
        )
        for tag, content in contents.items()
    ]
