"""Gathers the docstrings of Python's standard library: `python introspect.py OUTPUT.tsv`.

Runs as a script in a Python of its own (`python_docs.py` starts it), because it imports nearly every module of the
standard library: some of them print, warn or change the terminal, and none of them should stay in the user's process.
It therefore imports nothing but the standard library, and knows nothing of the rest of the package.
"""

import builtins
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Container, Iterator
from types import ModuleType
from typing import Any

# fmt: off
SKIPPED_MODULES = {
    # open a browser, print, or touch the terminal when they are imported
    "antigravity", "this", "readline", "rlcompleter",
    # not there in every build of Python
    "idlelib", "tkinter", "turtle", "turtledemo", "test", "xxlimited", "xxlimited_35", "xxsubtype",
    # the platform's side of `os`, `os.path` and `re`, documented under those names
    "posix", "nt", "posixpath", "ntpath", "genericpath", "nturl2path", "sre_compile", "sre_constants", "sre_parse",
    # removed between Python 3.10 and 3.14
    "aifc", "asynchat", "asyncore", "audioop", "binhex", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr",
    "imp", "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd",
    "sunau", "telnetlib", "uu", "xdrlib",
    # a module for every codec, and tables of data
    "encodings", "pydoc_data", "opcode",
}
# fmt: on


def module_names() -> list[str]:
    """Names of the public modules of the standard library, packages before what they hold."""
    names = ["os.path"]
    pending = sorted(name for name in sys.stdlib_module_names if is_public(name) and name not in SKIPPED_MODULES)
    while pending:
        name = pending.pop(0)
        names.append(name)
        module = import_quietly(name)
        for child in pkgutil.iter_modules(getattr(module, "__path__", [])):
            if is_public(child.name) and child.name not in ("test", "tests"):
                pending.append(f"{name}.{child.name}")
    return names


def is_public(name: str) -> bool:
    return not name.startswith("_")


def import_quietly(name: str) -> ModuleType | None:
    """The module, or None where this platform or build hasn't got it."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # what a module raises on a platform that isn't its own is up to that module
        return None


def exported(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public members of a module: what `__all__` lists, or else what was defined there."""
    listed = vars(module) if module is builtins else getattr(module, "__all__", None)
    for name in sorted(set(listed or vars(module))):
        member = getattr(module, name, None)
        if not is_public(name) or not (inspect.isclass(member) or inspect.isroutine(member)):
            continue
        home = getattr(member, "__module__", None) or ""
        if listed or home.lstrip("_") == module.__name__:  # `_socket` is the C half of `socket`
            yield name, member


def class_members(cls: type, public: Container[int]) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class defines, or has from bases that nobody can name.

    Args:
        cls: the class.
        public: ids of the classes whose members are told elsewhere; `pathlib.Path` has a hidden base in some versions.
    """
    for base in cls.__mro__:
        if base is not cls and id(base) in public:
            continue
        for name, member in sorted(vars(base).items()):
            function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            if is_public(name) and (inspect.isroutine(function) or isinstance(function, property)):
                yield name, function


def identity(member: Any) -> int:
    """Equal for two names of one thing; `random.shuffle` is a method of a hidden `random.Random`."""
    return id(getattr(member, "__func__", member))


def named_objects() -> Iterator[tuple[str, Any]]:
    """Every documented object of the standard library under the one name that people know it by.

    Of an object's names the one that it calls itself wins (`OSError`, not `IOError`), then the one with the fewest dots
    (`json.JSONDecoder`, not `json.decoder.JSONDecoder`), then the class with the fewest ancestors. Built-ins have no
    prefix: `sorted`, `str.split`.
    """
    names: dict[int, tuple[bool, int, int, str]] = {}
    objects: dict[int, Any] = {}

    def offer(name: str, member: Any, ancestors: int = 0) -> None:
        tail = name.rpartition(".")[2]
        rank = (tail != getattr(member, "__name__", tail), name.count("."), ancestors, name)
        key = identity(member)
        names[key] = min(names.get(key, rank), rank)
        objects[key] = member

    for module_name in module_names():
        module = import_quietly(module_name)
        if module is None:
            continue
        prefix = "" if module_name == "builtins" else f"{module_name}."
        for name, member in exported(module):
            offer(prefix + name, member)
        yield module_name, module
    classes = {key: member for key, member in objects.items() if inspect.isclass(member)}
    for key, cls in classes.items():
        for name, member in class_members(cls, classes):
            offer(f"{names[key][-1]}.{name}", member, len(cls.__mro__))
    for key, rank in names.items():
        yield rank[-1], objects[key]


def text_of(name: str, member: Any) -> str:
    """One line: the words of the name, the parameters, the docstring. Empty where there is no docstring."""
    documentation = getattr(member, "__doc__", None)
    if not isinstance(documentation, str) or not documentation.strip():
        return ""
    words = name.replace(".", " ")
    if inspect.ismodule(member):
        title = f"{words} module"
    else:
        try:
            parameters = [p for p in inspect.signature(member).parameters if p not in ("self", "cls")]
            title = f"{words}({', '.join(parameters)})"
        except Exception:  # a property, a C function that doesn't tell, or (curses) defaults that can't be evaluated
            title = words
    return " ".join(f"{title}: {documentation}".split())


def main(output: str) -> None:
    """Write `docno <tab> text` for every documented object, ordered by docno."""
    texts = {name: text_of(name, member) for name, member in named_objects()}
    with open(output, "w", encoding="utf-8", errors="replace", newline="\n") as file:
        for name in sorted(texts):
            if texts[name]:
                file.write(f"{name}\t{texts[name]}\n")


if __name__ == "__main__":
    main(sys.argv[1])
