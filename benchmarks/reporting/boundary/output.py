"""The folder of reports. Only files that the suite wrote are replaced or removed; all others are left alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ParamSpec

from benchmarks.errors import UserError
from benchmarks.files import ABANDONED_SECONDS, locked, write_atomically
from benchmarks.reporting.markdown import GENERATED, file_name, one_line

MANIFEST = "manifest.json"
_ABOUT = (
    "What `make report` wrote here, with the SHA-256 of each file; nothing else in this folder is replaced or removed."
)
# How files written by this version and by earlier versions of the suite begin.
_PAGE_START = GENERATED.partition(" from ")[0].encode()
_HTML_MARKS = (b'content="vae-bench-suite reports">', b"<title>VAE benchmark reports</title>")
_MANIFEST_START = _ABOUT.partition(",")[0].encode()
_Arguments = ParamSpec("_Arguments")


class Output:
    """Pages and pictures to be written to a folder of reports.

    They are collected first, so that errors about the user's files are raised before anything is written.
    """

    def __init__(self, folder: Path) -> None:
        """Raises :class:`UserError` if reports cannot be written to ``folder``."""
        self.folder = folder
        self.pages: dict[str, str] = {}
        self.pictures: dict[str, bytes] = {}
        self.messages: list[str] = []
        self._taken: set[str] = set()
        check_folder(folder)
        self._look()

    def page(self, name: str, text: str) -> None:
        """Add the page ``name``, a path relative to the folder."""
        self.pages[name] = text

    def picture(self, name: str, data: bytes) -> str:
        """Add a picture and return its file name in ``figures/``.

        The file name is derived from ``name``, with a number if another picture already has that name.
        """
        stem = unique = file_name(name, 120)
        number = 2
        # On some systems, two names that differ only in case are the same file.
        while unique.lower() in self._taken:
            unique, number = f"{stem}-{number}", number + 1
        self._taken.add(unique.lower())
        self.pictures[f"figures/{unique}.png"] = data
        return f"{unique}.png"

    def drawn(
        self, what: str, draw: Callable[_Arguments, bytes | None], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> bytes | None:
        """The result of ``draw``; if it fails, None and a message, so that all other figures are still drawn."""
        try:
            return draw(*args, **kwargs)
        except Exception as error:
            self.messages.append(f"left out: {what}: {type(error).__name__}: {one_line(error, 100)}")
            return None

    def check(self, names: Iterable[str]) -> None:
        """Raises :class:`UserError` if one of ``names`` is a file that the suite did not write."""
        foreign = [name for name in names if not self._is_free_or_ours(name)]
        if foreign:
            more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
            raise UserError(
                f"{self.folder / foreign[0]}{more} was not written by this suite and would be overwritten: "
                "move it, or choose another folder with REPORTS (--reports)"
            )

    def write(self, in_html: Mapping[str, str] | None = None) -> None:
        """Write all pages and pictures, and the HTML files ``in_html`` (path -> text).

        Files that the suite wrote earlier and that are no longer generated are removed; HTML files only if new ones are
        written. Raises :class:`UserError` if a file of the user would be overwritten, or if writing fails.
        """
        # Pages are written before pictures. If the process is killed before the manifest is written, the next call
        # still recognises the pictures as the suite's own, because its pages show them.
        files = {name: text.encode() for name, text in self.pages.items()} | self.pictures
        extra = {name: text.encode() for name, text in (in_html or {}).items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Another sweep may be writing its reports to the same folder.
            with locked(self.folder):
                self._look()
                self.check([*files, *extra, MANIFEST])
                stale = self._stale([*files, *extra], bool(extra))
                for name, data in (files | extra).items():
                    self._replace(name, data)
                for name in stale:
                    (self.folder / name).unlink(missing_ok=True)
                digests = {name: _digest(data) for name, data in sorted(files.items())}
                text = json.dumps({"about": _ABOUT, "files": digests}, indent=2) + "\n"
                self._replace(MANIFEST, text.encode())
                self._remove_abandoned()
        except OSError as error:
            raise UserError(f"cannot write {error.filename or self.folder}: {error.strerror}") from None

    def _look(self) -> None:
        """Read which files in the folder were written by the suite."""
        self._manifest = self._read_manifest()
        self._shown = self._pictures_of_our_pages()

    def _replace(self, name: str, data: bytes) -> None:
        path = self.folder / name
        if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
            write_atomically(path, data)

    def _is_free_or_ours(self, name: str) -> bool:
        path = self.folder / name
        return not os.path.lexists(path) or self._is_ours(name)

    def _is_ours(self, name: str) -> bool:
        """Whether the suite wrote this file.

        A file is recognised by its digest in the manifest, by its first bytes, or because a page of the suite shows it.
        """
        data = _read(self.folder / name)
        if data is None:
            return False
        if name == MANIFEST:
            return _MANIFEST_START in data[:500]
        if name.endswith(".html"):
            return any(mark in data[:2000] for mark in _HTML_MARKS)
        if name.endswith(".md") and data.startswith(_PAGE_START):
            return True
        return name in self._shown or self._manifest.get(name) == _digest(data)

    def _read_manifest(self) -> dict[str, str]:
        try:
            files = json.loads(_read(self.folder / MANIFEST) or b"")["files"]
            return {name: digest for name, digest in files.items() if _is_inside(name) and isinstance(digest, str)}
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return {}

    def _our_pages(self) -> dict[str, bytes]:
        """The Markdown pages in the folder that begin with the suite's first line."""
        found = {
            path.relative_to(self.folder).as_posix(): _read(path)
            for pattern in ("*.md", "variants/*.md", "pictures/*.md")
            for path in sorted(self.folder.glob(pattern))
        }
        return {name: data for name, data in found.items() if data is not None and data.startswith(_PAGE_START)}

    def _pictures_of_our_pages(self) -> set[str]:
        links = (
            link
            for data in self._our_pages().values()
            for link in re.findall(rb"\]\((?:\.\./)?(figures/[\w.-]+\.png)\)", data)
        )
        return {link.decode() for link in links}

    def _stale(self, files: Iterable[str], has_html: bool) -> list[str]:
        earlier = {*self._manifest, *self._our_pages(), *self._shown}
        if has_html:
            earlier |= {path.relative_to(self.folder).as_posix() for path in self.folder.glob("**/*.html")}
        return sorted(name for name in earlier - set(files) if self._is_ours(name))

    def _remove_abandoned(self) -> None:
        """Remove the temporary files of atomic writes that were killed: old hidden files that end with ``.tmp``."""
        for part in ("", "figures", "variants", "pictures"):
            for path in (self.folder / part).glob(".*.tmp"):
                is_ours = re.fullmatch(r"\..+\.(?:md|png|json|html)\.\w{8}\.tmp", path.name)
                if is_ours and path.is_file() and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Raises :class:`UserError` if reports cannot be written to ``folder``."""
    for path in (folder, folder / "figures", folder / "variants", folder / "pictures"):
        try:
            existing = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
            if not existing.is_dir():
                raise UserError(f"{existing} is not a folder: choose another one with REPORTS (--reports)")
            if not os.access(existing, os.W_OK | os.X_OK):
                raise UserError(f"{existing} is not writable: choose another folder with REPORTS (--reports)")
        except OSError as error:
            raise UserError(f"cannot use {path} for reports: {error.strerror}") from None


def _is_inside(name: str) -> bool:
    return bool(re.fullmatch(r"(?:(?:figures|variants|pictures)/)?[\w-][\w.-]*", name))


def _read(path: Path) -> bytes | None:
    """The bytes of a regular file; None for anything else, including symbolic links."""
    try:
        return path.read_bytes() if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
