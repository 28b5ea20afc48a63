"""How far a run is, as its checkpoints and its report say it; read without torch, which is slow to import."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self


class Part:
    """A part of a checkpoint: a dataclass whose fields are the part's keys. A field that is None has no key."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields that are set, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds the part from a dict, which may have other entries too."""
        names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: values[name] for name in names if name in values})


@dataclass(frozen=True)
class Progress(Part):
    """How far the run is. A report has the same entries."""

    out_of_time: ClassVar[str] = "--trainer.max_time"
    """The rule that stopped a run without an end when its time was used up."""

    total_steps: int | None = None  # -1 for a run without an end
    loss: float | None = None  # of the last batch, before its update
    mse: float | None = None
    stopped_by: str | None = None  # the rule that stopped the run, and why
    num_processes: int | None = None  # that share each batch; None for one

    def is_complete(self, global_step: int) -> bool:
        """Returns whether the run ends at this step: it has its full length, or a rule stopped it."""
        return global_step == self.total_steps or self.stopped_by is not None
