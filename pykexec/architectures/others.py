"""Architectures that are known by name alone: nothing is planned for them. Pure.

``e_machine`` is of Linux include/uapi/linux/elf-em.h, ``ih_arch`` of U-Boot include/image.h. Which
of them have kexec stands in their arch/*/Kconfig, "ARCH_SUPPORTS_KEXEC".
"""

from __future__ import annotations

from pykexec.architectures.architecture import Architecture, Identity

_NO_KEXEC = "no Linux kernel for it has kexec"

OTHERS = (
    Architecture(
        "riscv32",
        machines=("riscv32",),
        word_bits=32,
        identity=Identity(pe=0x5032),
        missing="there is no purgatory for it, nor a kernel that the plan was tried with",
    ),
    Architecture(
        "powerpc",
        machines=("ppc",),
        word_bits=32,
        identity=Identity(elf=20, u_boot=7),
        # Linux arch/powerpc/kexec/relocate_32.S: r3, by which a kernel finds its tree, is another
        # number.
        missing="the running kernel tells the next one of no device tree, and there is no "
        "purgatory for it that would",
    ),
    Architecture(
        "ppc64",
        machines=("ppc64",),
        section_bits=24,
        missing="there is no purgatory for it in big endian",
    ),
    Architecture(
        "mips",
        machines=("mips", "mips64"),
        identity=Identity(elf=8, u_boot=5),
        # Linux arch/mips: kernel/machine_kexec.c, "uhi_machine_kexec_prepare";
        # cavium-octeon/setup.c, "octeon_kexec_prepare"; loongson64, "loongson_kexec_prepare".
        missing="which segment the running kernel takes for the command line, for the device tree "
        "or for neither is fixed where it is built, for a board, and it does not say",
    ),
    Architecture(
        "sh",
        machines=("sh2", "sh2a", "sh3", "sh4", "sh4a"),
        word_bits=32,
        identity=Identity(elf=42, u_boot=9),
        # Linux arch/sh/Kconfig, "ZERO_PAGE_OFFSET"; arch/sh/include/asm/setup.h, "PARAM".
        missing="a kernel reads its parameters at a place that was chosen where it was built, and "
        "its image does not tell which (CONFIG_ZERO_PAGE_OFFSET)",
    ),
    Architecture(
        "parisc",
        machines=("parisc", "parisc64"),
        identity=Identity(elf=15),
        missing="there are no plans for its boot protocol, nor a purgatory for it",
    ),
    Architecture(
        "ia64",
        machines=("ia64",),
        identity=Identity(elf=50, pe=0x0200, u_boot=4, efi="ia64"),
        missing="there are no plans for its boot protocol, and Linux has dropped it in 6.7",
    ),
    Architecture(
        "cris",
        machines=("cris",),
        word_bits=32,
        identity=Identity(elf=76),
        missing="there are no plans for its boot protocol, and Linux has dropped it in 4.17",
    ),
    Architecture(
        "alpha", machines=("alpha",), identity=Identity(elf=0x9026, u_boot=1), missing=_NO_KEXEC
    ),
    Architecture(
        "sparc",
        machines=("sparc",),
        word_bits=32,
        identity=Identity(elf=2, u_boot=10),
        missing=_NO_KEXEC,
    ),
    Architecture(
        "sparc64", machines=("sparc64",), identity=Identity(elf=43, u_boot=11), missing=_NO_KEXEC
    ),
)
