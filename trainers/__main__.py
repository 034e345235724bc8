"""Lists the commands: every file directly in this package that has a `Settings`."""

import ast
import pathlib

import trainers

USAGE = "usage: python -m trainers.COMMAND [--flagfile=FILE] [--flag=value ...]   (--help lists a command's flags)\n"


def commands() -> dict[str, str]:
    """Command names with the first line of their documentation, read without importing them."""
    found = {}
    for path in sorted(pathlib.Path(trainers.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.ClassDef) and node.name == "Settings" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


if __name__ == "__main__":
    print(USAGE)
    for name, summary in commands().items():
        print(f"  {name:<10}{summary}")
