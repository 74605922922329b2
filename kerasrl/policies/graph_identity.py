"""Telling whether two graphs compute the same."""

from typing import Any

from kerasrl.policies.rewriting import called_by

# Other in every trace of a recurrent layer of Keras's, and without a part in what is computed.
_HINTS = ("api_implements", "api_preferred_device")


def canonical(definition: Any, captured: list[str]) -> bytes:
    """The bytes of a `GraphDef` with numbers in the place of all names.

    Names differ from one trace of the same Python code to the next. Equal bytes mean that the same
    is computed of the same captured tensors; whether unequal ones do not is not promised.

    Args:
        definition: `GraphDef`, which is left as it is.
        captured: the names of the placeholders of what was captured, in their order.
    """
    functions = {f.signature.name: f for f in definition.library.function}
    called: dict[str, str] = {}  # Functions in the order in which they are found.
    parts: list[bytes] = []
    scopes: list[tuple[list[str], Any, list[str]]] = [(captured, definition.node, [])]
    while scopes:
        first, nodes, returned = scopes.pop(0)
        numbers = {name: str(i) for i, name in enumerate(first)}
        for node in nodes:
            numbers.setdefault(node.name, str(len(numbers)))
        for node in nodes:
            for name in called_by(node):
                if name in functions and name not in called:
                    called[name] = str(len(called))
                    scopes.append(_scope(functions[name]))
            parts.append(_numbered(node, numbers, called))
        parts.append(repr([_ref(ref, numbers) for ref in returned]).encode())
    return b"\n".join(parts)


def _scope(function: Any) -> tuple[list[str], Any, list[str]]:
    """A function's arguments, its nodes, and what it returns."""
    signature = function.signature
    returned = [function.ret[output.name] for output in signature.output_arg]
    returned += sorted(function.control_ret.values())
    return [argument.name for argument in signature.input_arg], function.node_def, returned


def _numbered(node: Any, numbers: dict[str, str], called: dict[str, str]) -> bytes:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.ClearField("experimental_debug_info")
    copy.name = numbers[node.name]
    del copy.input[:]
    copy.input.extend(_ref(ref, numbers) for ref in node.input)
    for key in [key for key in copy.attr if key.startswith("_") or key in _HINTS]:
        del copy.attr[key]
    for attribute in copy.attr.values():
        functions = [attribute.func] if attribute.HasField("func") else attribute.list.func
        for function in functions:
            function.name = called.get(function.name, function.name)
    return copy.SerializeToString(deterministic=True)


def _ref(ref: str, numbers: dict[str, str]) -> str:
    name, *output = ref.removeprefix("^").split(":")
    return ":".join(["^" * ref.startswith("^") + numbers[name], *output])
