# SPDX-License-Identifier: Apache-2.0
"""Volatility 3 add-on: Linux images of hosts with five-level paging (LA57).

Volatility walks four levels only and then shows empty tables without an error. Use this file's folder as
--plugin-dirs (-p). It acts only when the image's own VMCOREINFO says that five levels were in use, and not at
all once Volatility knows them by itself."""
import logging

from volatility3.framework.automagic import linux as linux_automagic
from volatility3.framework.layers import intel
from volatility3.framework.symbols import linux

log = logging.getLogger(__name__)


class ExhibitIntel57(intel.Intel32e):
    """Intel SDM volume 3, 4.5.5: one more table of 512 entries above, 57 bits of virtual addresses."""

    _maxvirtaddr = 57
    _maxphyaddr = 52
    _structure = [("page map level 5", 9, False), *intel.Intel32e._structure]


class ExhibitLa57Stacker(linux_automagic.LinuxIntelVMCOREINFOStacker):
    """Before Volatility's own: the same search, with the deeper layer where the kernel used it."""

    stack_order = linux_automagic.LinuxIntelVMCOREINFOStacker.stack_order - 1

    @staticmethod
    def _five_levels(context, layer_name, progress_callback):
        notes = linux.VMCoreInfo.search_vmcoreinfo_elf_note(
            context=context, layer_name=layer_name, progress_callback=progress_callback)
        return any(note.get("NUMBER(pgtable_l5_enabled)") == 1 for _offset, note in notes)

    @classmethod
    def stack(cls, context, layer_name, progress_callback=None):
        if isinstance(context.layers[layer_name], intel.Intel):
            return None
        if intel.Intel32e._maxvirtaddr != 48 or hasattr(intel, "Intel32e57"):
            return None  # a Volatility that knows more than the one this was written for
        if not cls._check_versions() or not cls._five_levels(context, layer_name, progress_callback):
            return None
        log.info("five-level paging: using %s", ExhibitIntel57.__name__)
        known, intel.Intel32e = intel.Intel32e, ExhibitIntel57
        try:
            return super().stack(context, layer_name, progress_callback)
        finally:
            intel.Intel32e = known
