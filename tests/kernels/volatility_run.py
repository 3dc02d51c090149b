# SPDX-License-Identifier: Apache-2.0
"""Many plugins of Volatility 3 over one image in one process: what is dear, finding the kernel and reading the
symbols, is done once. Run by the Python of the venv that Volatility lies in:

    volatility_run.py FOLDER OUT PLUGIN...

FOLDER: what the acquirer made, with its volatility/. OUT: a JSON object, a member for each plugin: its "rows", and
"error", null or the exception that ended it. A plugin of the name NAME:ROWS ends after so many rows."""
import datetime
import importlib
import json
import pkgutil
import signal
import sys
from pathlib import Path

import volatility3.plugins
from volatility3 import framework, symbols
from volatility3.framework import automagic, contexts, interfaces, plugins, renderers
from volatility3.plugins import linux

SECONDS_EACH = 150


class Enough(Exception):
    pass


class Discarded(interfaces.plugins.FileHandlerInterface):
    """No plugin is asked to write a file."""

    def write(self, data):
        return len(data)

    def close(self):
        pass


class Slow(Exception):
    pass


def late(number, frame):
    raise Slow(f"no end within {SECONDS_EACH} s")


def plain(value):
    if isinstance(value, interfaces.renderers.BaseAbsentValue):
        return None
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def said(error):
    """One line, without addresses: they differ between boots."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return " ".join("0x.." if word.strip(".,:()'").startswith("0x") else word for word in text.split())


class Image:
    def __init__(self, folder):
        self.context = contexts.Context()
        self.context.config["automagic.LayerStacker.single_location"] = (folder / "memory.lime").as_uri()
        self.magic = automagic.available(self.context)
        self.kernel = None

    def prepare(self, plugin):
        """From the second plugin on: the kernel that the first one's automagic found."""
        path = f"plugins.{plugin.__name__}"
        for requirement in plugin.get_requirements():
            kind = type(requirement).__name__
            if kind == "ModuleRequirement" and self.kernel:
                self.context.config[f"{path}.{requirement.name}"] = self.kernel
            elif kind == "TranslationLayerRequirement" and self.kernel:
                self.context.config[f"{path}.{requirement.name}"] = self.context.modules[self.kernel].layer_name

    def grid(self, plugin):
        self.prepare(plugin)
        # Types that one plugin has looked up must not stay without what the next one adds to them.
        self.context.symbol_space._resolved.clear()
        magic = [] if self.kernel else automagic.choose_automagic(self.magic, plugin)
        made = plugins.construct_plugin(self.context, magic, plugin, "plugins", None, Discarded)
        if self.kernel is None:
            self.kernel = made.config["kernel"]
        return made.run()

    def show(self, plugin, limit):
        rows, error = [], None

        def keep(node, _):
            rows.append({column.name: plain(value) for column, value in zip(node._treegrid.columns, node.values)})
            if limit and len(rows) == limit:
                raise Enough
        # Finding the kernel takes as long as it takes: its automagic would swallow the alarm.
        signal.alarm(SECONDS_EACH if self.kernel else 0)
        try:
            self.grid(plugin).populate(keep, None)
        except Enough:
            pass
        except Exception as e:  # whatever a plugin dies of is its result
            error = said(e)
        finally:
            signal.alarm(0)
        return {"rows": rows, "error": error}


def main():
    folder, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    framework.require_interface_version(2, 0, 0)
    signal.signal(signal.SIGALRM, late)
    symbols.__path__.insert(0, str(folder / "volatility/symbols"))
    if (folder / "volatility/plugins").exists():
        volatility3.plugins.__path__.insert(0, str(folder / "volatility/plugins"))
    # With the add-on, which lies at the top; of the package only Linux' plugins.
    for module in pkgutil.iter_modules(volatility3.plugins.__path__):
        if module.name.startswith("exhibit_"):
            importlib.import_module(f"volatility3.plugins.{module.name}")
    for module in pkgutil.walk_packages(linux.__path__, "volatility3.plugins.linux."):
        try:
            importlib.import_module(module.name)
        except ImportError:
            pass  # wants a package that is not installed; told if it was asked for
    known, image, shown = framework.list_plugins(), Image(folder), {}
    for word in sys.argv[3:]:
        name, _, limit = word.partition(":")
        shown[name] = image.show(known[name], int(limit or 0)) if name in known else \
            {"rows": [], "error": "Volatility has no such plugin"}
    out.write_text(json.dumps(shown))


if __name__ == "__main__":
    main()
