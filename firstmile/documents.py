"""YAML files people write (rules, content, event names), read so that every complaint can name the line."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from firstmile.errors import FileError

Place = tuple[int | str, ...]
"""Way to a value: keys and list positions from the top."""
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """A file's data and the line of every value in it, both by the same ways."""

    path: Path
    data: Any
    lines: Mapping[Place, int]

    def line(self, place: Sequence[int | str]) -> int:
        """Line of a value, or of the closest thing around it; 1-based."""
        for end in range(len(place), -1, -1):
            if (found := self.lines.get(tuple(place[:end]))) is not None:
                return found
        return 1

    def refuse(self, place: Sequence[int | str], problem: str) -> Never:
        """Raises FileError naming file, line and what is wrong there."""
        raise FileError(f"{self.path}, line {self.line(place)}: {problem}")

    def parse(self, model: type[Model], place: Place = ()) -> Model:
        """The data at a place as a pydantic model. Raises FileError naming the first wrong line."""
        data = self.data
        for key in place:
            data = data[key]
        if not isinstance(data, Mapping):
            named = ".".join(map(str, place)) or "the file"
            self.refuse(place, f"{named} must have keys of its own: `key: value`")
        try:
            return model.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = (*place, *first["loc"])
            self.refuse(where, f"{'.'.join(map(str, where))}: {first['msg']}")


def read_document(path: Path) -> Document:
    """Read a YAML file. Raises FileError when it is missing, not YAML, or says a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FileError(f"{path}, line {line}: {error.reason}; take the character out") from error
    try:
        node = loader.get_single_node()
        walk = _Walk(loader, {(): 1})
        data = None if node is None else walk.value(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FileError(f"{path}, line {line}: {error.problem}") from error
    except RecursionError as error:
        raise FileError(f"{path} is nested too deeply, or in itself by an alias") from error
    finally:
        loader.dispose()
    return Document(path, data, walk.lines)


@dataclass
class _Walk:
    """Values of YAML nodes, noting where each began."""

    loader: yaml.SafeLoader
    lines: dict[Place, int]

    def value(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*place, i)) for i, child in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return self._scalar(node)
        found: dict[Hashable, Any] = {}
        for key_node, child in node.value:
            key = self._scalar(key_node)
            if isinstance(key, list | dict | set):
                raise yaml.MarkedYAMLError(problem="a key is a text or a number", problem_mark=key_node.start_mark)
            if key in found:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is said twice", problem_mark=key_node.start_mark)
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            found[key] = self.value(child, (*place, key))
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self.loader.construct_object(node)
        except ValueError as error:  # looks like a date, a number, …, and is none
            raise yaml.MarkedYAMLError(problem=f"{node.value!r}: {error}", problem_mark=node.start_mark) from error
        except (LookupError, AttributeError, OverflowError) as error:  # what PyYAML raises of `!!bool maybe` and such
            problem = f"{node.value[:50]!r} is not what its tag says, {node.tag}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error
