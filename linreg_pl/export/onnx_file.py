"""Writes a formula as an ONNX graph of standard operators, with an input for each column of the table.

Inputs are (rows,), by the columns' names: double, or string for categories. Outputs are (rows,), double, by the
targets' names and `_predicted`; NaN stands for no prediction. A missing number is NaN, a missing text is empty.
"""

import math
from collections.abc import Sequence
from typing import Any

from linreg_pl.errors import InputError
from linreg_pl.export.formula import CategoryColumn, Formula, NumberColumn


def onnx_bytes(formula: Formula) -> bytes:
    """Returns the model of a formula, for any runtime of ONNX.

    Raises:
        InputError: the package onnx is not installed, or two inputs and outputs would have the same name.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError("the format onnx needs the package onnx: pip install onnx") from error
    graph = Graph(onnx, [column.name for column in formula.columns], [f"{name}_predicted" for name in formula.targets])
    numbers = [column for column in formula.columns if isinstance(column, NumberColumn)]
    terms = [graph.constant([formula.intercept])]
    terms += graph.of_numbers(numbers) if numbers else []
    terms += [graph.of_categories(column) for column in formula.columns if isinstance(column, CategoryColumn)]
    total = graph.node("Sum", terms)
    for number, output in enumerate(graph.outputs):
        graph.node("Gather", [total, graph.constant(number, onnx.TensorProto.INT64)], output, axis=1)
    return graph.model(formula)


class Graph:
    """A graph under construction.

    Args:
        onnx: The package.
        inputs: Names of the inputs.
        outputs: Names of the outputs.

    Raises:
        InputError: an input and an output have the same name.
    """

    def __init__(self, onnx: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._onnx, self.outputs = onnx, outputs
        self._double, self._int64 = onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64
        self._names, self._nodes, self._constants = {*inputs, *outputs}, list[Any](), list[Any]()
        if len(self._names) < len(inputs) + len(outputs):
            raise InputError("a column and a prediction would have the same name in ONNX; rename the column")

    def of_numbers(self, columns: Sequence[NumberColumn]) -> list[str]:
        """Returns what all columns of numbers add: (rows, K), and the same for the missing values among them."""
        axis = self.constant([1], self._int64)
        values = self.node("Concat", [self.node("Unsqueeze", [column.name, axis]) for column in columns], axis=1)
        is_missing = self.node("IsNaN", [values])
        for mark in sorted({mark for column in columns for mark in column.marks}):
            is_missing = self.node("Or", [is_missing, self.node("Equal", [values, self.constant(mark)])])
        differences = self.node("Sub", [values, self.constant([[column.center for column in columns]])])
        W = self.constant([column.coefficients for column in columns])
        # A missing value adds nothing to the product, or makes it NaN.
        absent = [math.nan if column.missing is None else 0.0 for column in columns]
        known = self.node("Where", [is_missing, self.constant([absent]), differences])
        added = [column.missing or [0.0] * len(column.coefficients) for column in columns]
        indicators = self.node("Cast", [is_missing], to=self._double)
        return [self.node("MatMul", [known, W]), self.node("MatMul", [indicators, self.constant(added)])]

    def of_categories(self, column: CategoryColumn) -> str:
        """Returns what a column of texts adds: (rows, K)."""
        unknown = [math.nan] * len(next(iter(column.categories.values())))
        known = {**column.categories, **dict.fromkeys(column.marks, column.missing)}
        table = [added or unknown for added in (*known.values(), column.other)]
        row = self.node(
            "LabelEncoder",
            [column.name],
            domain="ai.onnx.ml",
            keys_strings=list(known),
            values_int64s=list(range(len(known))),
            default_int64=len(known),
        )
        return self.node("Gather", [self.constant(table), row], axis=0)

    def node(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        output = output or self._new_name(operator)
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, values: Any, kind: int | None = None) -> str:
        """Adds a number, a list or a matrix, of doubles unless a kind is given; returns its name."""
        matrix = values if isinstance(values, list) else [values]
        shape = [len(matrix), len(matrix[0])] if isinstance(matrix[0], list) else [len(matrix)]
        flat = [number for row in matrix for number in row] if isinstance(matrix[0], list) else matrix
        name, shape = self._new_name("constant"), shape if isinstance(values, list) else []
        self._constants.append(self._onnx.helper.make_tensor(name, kind or self._double, shape, flat))
        return name

    def _new_name(self, word: str) -> str:
        name = next(name for number in range(len(self._names) + 1) if (name := f"{word} {number}") not in self._names)
        self._names.add(name)
        return name

    def model(self, formula: Formula) -> bytes:
        """Returns the whole model."""
        helper, text = self._onnx.helper, self._onnx.TensorProto.STRING
        inputs = [
            helper.make_tensor_value_info(
                column.name, text if isinstance(column, CategoryColumn) else self._double, ["rows"]
            )
            for column in formula.columns
        ]
        outputs = [helper.make_tensor_value_info(name, self._double, ["rows"]) for name in self.outputs]
        graph = helper.make_graph(self._nodes, "linear regression", inputs, outputs, self._constants)
        # Versions of 2022, so that older runtimes read the file, too.
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, producer_name="linreg_pl", opset_imports=versions, ir_version=8)
        self._onnx.checker.check_model(model, full_check=True)
        contents: bytes = model.SerializeToString()
        return contents
