"""A kernel image for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.formats.fit import Fit
from pykexec.formats.uki import Uki
from pykexec.render.elf import elf_text, elf_value
from pykexec.render.escape import one_line, printable
from pykexec.render.lines import WIDTH, wrapped
from pykexec.values.ranges import Range
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from pykexec.formats import Identified, KernelImage
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.elf_details import ElfDetails
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.formats.ipl_image import IplImage
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.formats.multiboot import Multiboot
    from pykexec.formats.vmlinux_efi import VmlinuxEfi
    from pykexec.formats.zimage import ZImage

_WIDTH = 19
"""Of the names in front of the values."""
_ROOM = WIDTH - _WIDTH


def image_value(found: Identified, details: ElfDetails | None = None) -> dict[str, Any]:
    """Return what the image says as what JSON can say: schema ``pykexec.image/1``.

    ``details`` are those of the ELF file that it is, or was taken out of.
    """
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.ipl_image import IplImage
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.formats.vmlinux_efi import VmlinuxEfi
    from pykexec.formats.zimage import ZImage

    image = found.image
    value: dict[str, Any] = {
        "schema": "pykexec.image/1",
        "format": image.format_name,
        "arch": image.arch,
        "release": image.release,
        "signed": image.signed,
        "wrappings": [
            {"name": str(wrapping.name), "signed": wrapping.signed} for wrapping in found.wrappings
        ],
        "signature_lost": found.signature_lost,
        "kernel_size": len(image.payload),
    }
    if isinstance(image, BzImage):
        value |= _bzimage_value(image)
    elif isinstance(image, LinuxImage):
        value |= _linux_image_value(image)
    elif isinstance(image, VmlinuxEfi):
        value |= _vmlinux_efi_value(image)
    elif isinstance(image, ZImage):
        value |= _zimage_value(image)
    elif isinstance(image, IplImage):
        value |= {"cmdline_size": image.cmdline_size, "memsz": image.memsz}
    else:
        value |= _program_value(image)
    brought = found.brought
    value["uki"] = _uki_value(brought) if isinstance(brought, Uki) else None
    value["fit"] = _fit_value(brought) if isinstance(brought, Fit) else None
    value["elf"] = None if details is None else elf_value(details)
    return value


def _bzimage_value(image: BzImage) -> dict[str, Any]:
    header = image.header
    return {
        "protocol": header.protocol,
        "init_size": header.init_size,
        "pref_address": f"{header.pref_address:#x}",
        "kernel_alignment": f"{header.kernel_alignment:#x}",
        "relocatable": header.relocatable_kernel,
        "initrd_addr_max": f"{header.initrd_addr_max:#x}",
        "cmdline_size": header.cmdline_size,
        "loadflags": [flag.name for flag in header.loadflags],
        "xloadflags": [flag.name for flag in header.xloadflags],
    }


def _program_value(image: ElfProgram | Multiboot) -> dict[str, Any]:
    return {
        "bits": image.bits,
        "linux": bool(image.release),
        "entry": f"{image.entry_addr:#x}",
        "relocatable": image.relocatable,
        "segments": [
            {
                "mem": f"{segment.paddr:#x}",
                "memsz": segment.memsz,
                "filesz": len(segment.data),
            }
            for segment in image.segments
        ],
    }


def _linux_image_value(image: LinuxImage) -> dict[str, Any]:
    return {
        "text_offset": f"{image.text_offset:#x}",
        "image_size": image.image_size,
        "image_size_given": image.image_size_given,
        "flags": f"{image.flags:#x}",
        "endianness": _endianness(image),
        "page_size": image.page_size,
        "placed_anywhere": image.placed_anywhere,
    }


def _zimage_value(image: ZImage) -> dict[str, Any]:
    offset = image.text_offset
    return {
        "text_offset": None if offset is None else f"{offset:#x}",
        "inflated_size": image.inflated_size,
        "inflated_size_given": image.size_given,
        "bss_size": image.bss_size,
        "malloc_size": image.malloc_size,
    }


def _vmlinux_efi_value(image: VmlinuxEfi) -> dict[str, Any]:
    return {
        "load_offset": f"{image.load_offset:#x}",
        "entry_offset": f"{image.entry_offset:#x}",
        "image_size": image.image_size,
    }


def _uki_value(uki: Uki) -> dict[str, Any]:
    return {
        "os_release": uki.os_release,
        "uname": uki.uname,
        "cmdline": None if uki.cmdline is None else uki.cmdline.decode("utf-8", "replace"),
        "initrd_size": None if uki.initrd is None else len(uki.initrd),
        "dtb_size": None if uki.device_tree is None else len(uki.device_tree),
        "dtbauto_sizes": [len(tree) for tree in uki.device_trees],
        "profiles": uki.profiles,
        "sections": list(uki.sections),
    }


def _fit_value(fit: Fit) -> dict[str, Any]:
    return {
        "description": fit.description,
        "configuration": fit.configuration,
        "configurations": list(fit.configurations),
        "initrd_size": None if fit.initrd is None else len(fit.initrd),
        "dtb_size": None if fit.device_tree is None else len(fit.device_tree),
        "other_dtb_sizes": [len(tree) for tree in fit.device_trees],
        "hashes_checked": list(fit.checked),
        "remarks": list(fit.remarks),
    }


def image_text(found: Identified, details: ElfDetails | None = None) -> str:
    """Describe the image, and what it came in, in at most 80 columns."""
    image = found.image
    lines = [
        *(
            _line("wrapped in", wrapping.name + (", signed" if wrapping.signed else ""))
            for wrapping in found.wrappings
        ),
        *_image_lines(image),
    ]
    if isinstance(found.brought, Uki):
        lines += _uki_lines(found.brought)
    if isinstance(found.brought, Fit):
        lines += _fit_lines(found.brought)
    if found.signature_lost:
        lines.append(_line("signature", "of the wrapping only, lost by unpacking"))
    else:
        lines.append(_line("signature", "yes" if image.signed else "none"))
    return "\n".join(lines) + "\n" + ("" if details is None else elf_text(details))


def _line(name: str, value: str) -> str:
    return f"{name}:".ljust(_WIDTH) + one_line(value)


def _image_lines(image: KernelImage) -> list[str]:
    from pykexec.formats.bzimage import BzImage
    from pykexec.formats.ipl_image import IplImage
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.formats.vmlinux_efi import VmlinuxEfi
    from pykexec.formats.zimage import ZImage

    if isinstance(image, BzImage):
        return _bzimage_lines(image)
    if isinstance(image, ZImage):
        return _zimage_lines(image)
    if isinstance(image, IplImage):
        return _ipl_image_lines(image)
    if isinstance(image, VmlinuxEfi):
        return _vmlinux_efi_lines(image)
    return _linux_image_lines(image) if isinstance(image, LinuxImage) else _program_lines(image)


def _program_lines(image: ElfProgram | Multiboot) -> list[str]:
    return [
        _line("format", f"{image.format_name} for {image.arch}"),
        _line("release", image.release or "not Linux"),
        _line("entry point", f"{image.entry_addr:#x}, {image.bits} bits"),
        *(
            _line("segment", f"{Range.sized(item.paddr, item.memsz)}, {format_size(item.memsz)}")
            for item in image.segments
        ),
    ]


def _ipl_image_lines(image: IplImage) -> list[str]:
    return [
        _line("format", f"{image.format_name} for {image.arch}"),
        _line("release", image.release or "not given"),
        _line("kernel", f"{format_size(image.memsz)} from address 0 on"),
        _line("command line", f"{counted(image.cmdline_size, 'byte')} at most, with a NUL"),
    ]


def _bzimage_lines(image: BzImage) -> list[str]:
    header = image.header
    return [
        _line("format", f"{image.format_name}, boot protocol {header.protocol}"),
        _line("release", image.release or "not given"),
        _line("kernel", format_size(len(image.payload))),
        _line("memory to start", f"{format_size(header.init_size)} (init_size)"),
        _line(
            "preferred address",
            f"{header.pref_address:#x}, aligned to {header.kernel_alignment:#x}"
            + ("" if header.relocatable_kernel else ", not relocatable"),
        ),
        _line("initrd", "anywhere" if header.above_4g else f"{header.initrd_addr_max:#x} at most"),
        _line("command line", f"{counted(header.cmdline_size, 'byte')} at most"),
        "xloadflags:",
        wrapped(" ".join(str(flag.name) for flag in header.xloadflags) or "none"),
    ]


def _linux_image_lines(image: LinuxImage) -> list[str]:
    page_size = "not given" if image.page_size is None else format_size(image.page_size)
    memory = "image_size" if image.image_size_given else "a guess: the header has no image_size"
    place = "anywhere" if image.placed_anywhere else "close to the start of RAM"
    offset = f"{image.base_offset:#x} behind" if image.base_offset else "at"
    return [
        _line("format", f"{image.format_name} for {image.arch}"),
        _line("release", image.release or "not given"),
        _line("kernel", format_size(len(image.payload))),
        _line("memory to start", f"{format_size(image.image_size)} ({memory})"),
        _line("place", f"{place}, {offset} a multiple of 2 MiB"),
        _line("page size", page_size),
        _line("byte order", _endianness(image)),
    ]


def _zimage_lines(image: ZImage) -> list[str]:
    memory = f"{format_size(image.inflated_size)} and {format_size(image.bss_size)} of BSS"
    if not image.size_given:
        memory = f"{format_size(image.inflated_size)}, a guess: five times the file"
    offset = image.text_offset
    place = "not told where" if offset is None else f"{offset:#x} (TEXT_OFFSET)"
    return [
        _line("format", f"{image.format_name} for {image.arch}"),
        _line("release", image.release or "not given"),
        _line("program", f"{format_size(len(image.payload))}, it unpacks the kernel"),
        _line("unpacked kernel", memory),
        _line("place", f"{place} behind the base of memory"),
    ]


def _vmlinux_efi_lines(image: VmlinuxEfi) -> list[str]:
    return [
        _line("format", f"{image.format_name} for {image.arch}"),
        _line("release", image.release or "not given"),
        _line("kernel", format_size(len(image.payload))),
        _line("memory to start", f"{format_size(image.image_size)} (image_size)"),
        _line("place", f"{image.load_offset:#x} (load_offset), or a multiple of 2 MiB above"),
        _line("entry point", f"{image.entry_offset:#x} behind its start"),
    ]


def _endianness(image: LinuxImage) -> str:
    return "big" if image.big_endian else "little"


def _uki_lines(uki: Uki) -> list[str]:
    lines = [_line("UKI", one_line(uki.os_release)[:_ROOM] or "no PRETTY_NAME")]
    if uki.uname:
        lines.append(_line("UKI's uname", one_line(uki.uname)[:_ROOM]))
    if uki.initrd is not None:
        lines.append(_line("UKI's initrd", format_size(len(uki.initrd))))
    if uki.device_tree is not None:
        lines.append(_line("UKI's dtb", format_size(len(uki.device_tree))))
    if uki.device_trees:
        sizes = ", ".join(format_size(len(tree)) for tree in uki.device_trees)
        lines.append(_line("UKI's dtbauto", f"{len(uki.device_trees)} ({sizes})"))
    if uki.profiles:
        lines.append(_line("UKI's profiles", f"{uki.profiles}, the first is used"))
    if uki.cmdline is not None:
        lines += ["UKI's command line:", wrapped(printable(uki.cmdline) or "(empty)")]
    return lines


def _fit_lines(fit: Fit) -> list[str]:
    lines = [
        _line("FIT image", one_line(fit.description)[:_ROOM] or "no description"),
        "FIT configurations:",
        wrapped(
            ", ".join(
                one_line(name) + (" (used)" if name == fit.configuration else "")
                for name in fit.configurations
            )
        ),
    ]
    if fit.initrd is not None:
        lines.append(_line("FIT's initrd", format_size(len(fit.initrd))))
    if fit.device_tree is not None:
        lines.append(_line("FIT's dtb", format_size(len(fit.device_tree))))
    if fit.device_trees:
        lines.append(_line("FIT's other dtbs", str(len(fit.device_trees))))
    if fit.checked:
        lines += ["hashes that are right:", wrapped(", ".join(fit.checked))]
    lines += [wrapped(remark) for remark in fit.remarks]
    return lines
