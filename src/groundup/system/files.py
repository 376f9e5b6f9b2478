"""Files that are either the old one or the new one, never half of either."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from groundup.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it is flushed to disk and renamed to ``path``.

    The temporary file is hidden, ends in ``.tmp``, has a name that nobody can foresee (so that no link waits there), and is
    removed when the body fails. A link at ``path`` itself is replaced, and what it points to stays as it is.

    Raises:
        UserError: the disk is full.
        OSError: it names ``path``, not the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # where nothing may be written, nothing may be removed
            temporary.unlink(missing_ok=True)
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise full_disk(error, path) or error from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the content of ``path`` (UTF-8) in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_over(path: Path, text: str) -> bool:
    """Write ``text`` (UTF-8) into the room that the file has on a disk which is full. False, and nothing is changed: no such room."""
    content = text.encode()
    try:
        with open(path, "r+b", buffering=0, opener=no_link) as file:
            if os.fstat(file.fileno()).st_blocks * 512 < len(content):
                return False
            file.write(content)
            file.truncate()
            os.fsync(file.fileno())
    except (OSError, AttributeError):  # none is there; a system that does not count blocks
        return False
    return True


def new_beside(path: Path) -> Path:
    """A hidden path in the folder of ``path`` that nobody can foresee: nothing is there, and no link waits there."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")


def left_beside(path: Path) -> list[Path]:
    """What ``new_beside`` named for ``path`` and is there: of processes that still write, or were killed."""
    form = re.compile(re.escape(f".{path.name[:100]}.") + r"[0-9a-f]{16}\.tmp")
    return sorted(entry for entry in path.parent.glob(".*.tmp") if form.fullmatch(entry.name))


def no_link(path: str | os.PathLike[str], flags: int) -> int:
    """Opener for ``open(..., opener=no_link)`` that refuses to follow a link at ``path`` (OSError ELOOP)."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def remove_empty(folder: Path, top: Path) -> None:
    """Remove ``folder``, and the folders above it but ``top``, as far as they are empty."""
    while folder != top and top in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def full_disk(error: OSError, path: Path) -> UserError | None:
    """The line to show when ``error`` means that nothing more fits, else None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return UserError(f"no space left on the disk of {path.parent}: {path.name} was not written. Free some and go on")


def _sync_folder(folder: Path) -> None:
    """A rename survives a power cut only once the folder itself is on disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems cannot sync a folder
        pass
    finally:
        os.close(handle)


MOST = 64 << 20  # bytes of a JSON file
MOST_ROWS = 1 << 30  # bytes of predictions.jsonl, which is as long as what was predicted
MOST_YAML = 1 << 20  # bytes of a config: YAML is read at about 100 kB a second


def read_text(path: Path, most: int = MOST) -> str:
    """The content of a regular file in UTF-8.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is a folder, a pipe or a device, larger than ``most`` bytes, unreadable, or no UTF-8.
    """
    require_regular(path)
    try:
        if (size := path.stat().st_size) > most:
            raise UserError(
                f"{path} has {size:,} bytes, and at most {most:,} are read. It is no file of a run of groundup"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"byte {error.start} is no UTF-8") from None
    except PermissionError:
        raise UserError(f"{path} may not be read. Try chmod u+r {path}") from None


def require_regular(path: Path) -> None:
    """Raises UserError when ``path`` is anything but a file: opening a pipe waits for ever, a device never ends."""
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe, a socket or a device"
        raise UserError(f"{path} is {what}, where a run has a file. Nothing of it was read")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises as ``read_text``, and UserError for a damaged one."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"no JSON ({_first_line(error)})") from None


def read_yaml(path: Path) -> Any:
    """The value in a YAML file: text, numbers, yes and no, null, lists and mappings; no aliases, no tags, no dates.

    Numbers are those of OmegaConf: ``3e-3`` is one. Raises as ``read_text``, and UserError for anything else in it.
    """
    import yaml

    try:
        return yaml.load(read_text(path, MOST_YAML), Loader=_loader(yaml))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise damaged(path, f"no plain YAML ({_first_line(error)})") from None


def damaged(path: Path, why: str) -> UserError:
    """The line for a file of a run that is not what a run writes."""
    return UserError(f"{path} is damaged: {why}. Take it from a copy of the run, or choose another run")


def require_own_files(folder: Path) -> None:
    """Raises UserError unless a run holds only files and folders: a run that goes on must not write outside its folder.

    W&B makes links between its own files, and one to its log in the home folder. Those that stay inside its folder are
    left alone, others below it are removed. Runs inside a run (folds, steps of a pipeline) have such a folder each.
    """
    for root, children, files in os.walk(folder):
        for name in children + files:
            path = Path(root, name)
            if path.is_symlink():
                home = next((one for one in path.parents if one.name == "wandb" and folder in one.parents), None)
                if home and home.resolve() in path.resolve().parents:
                    continue
                if home is None:
                    raise UserError(
                        f"{path} is a link to {os.readlink(path)}, and a run that goes on writes only inside its folder. "
                        "Put there what it points to, or a copy"
                    )
                path.unlink()
            elif name in files:
                require_regular(path)


def number_pattern() -> tuple[str, re.Pattern[str], list[str]]:
    """Tag, pattern and first characters of floats as OmegaConf reads them, for a YAML reader and writer that agree."""
    return (
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
        list("-+0123456789."),
    )


def _loader(yaml) -> type:
    class Loader(yaml.SafeLoader):
        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.composer.ComposerError(None, None, "an alias", mark)
            return super().compose_node(parent, index)

    plain = ("null", "bool", "int", "float", "str", "seq", "map")
    tags = {f"tag:yaml.org,2002:{name}" for name in plain}
    Loader.yaml_constructors = {tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag in tags}
    Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag in tags]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(*number_pattern())
    return Loader


def _first_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return " ".join(str(error).split())[:120]
