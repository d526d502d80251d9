"""Structures of fixed size, declared with ``construct``.

After a change here run ``python -m tools.generate_structures``: it writes the tables that pykexec
reads and writes such structures by.
"""

from __future__ import annotations

from construct import (
    Array,
    Bytes,
    FormatField,
    Int8ub,
    Int8ul,
    Int16ub,
    Int16ul,
    Int32ub,
    Int32ul,
    Int64ub,
    Int64ul,
    Padding,
    Struct,
)

# Linux arch/x86/include/uapi/asm/bootparam.h, "struct setup_header"; its fields are in
# Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
SETUP_HEADER_OFFSET = 0x1F1
SETUP_HEADER = Struct(
    "setup_sects" / Int8ul,
    "root_flags" / Int16ul,
    "syssize" / Int32ul,
    "ram_size" / Int16ul,
    "vid_mode" / Int16ul,
    "root_dev" / Int16ul,
    "boot_flag" / Int16ul,
    "jump" / Bytes(2),
    "header" / Bytes(4),
    "version" / Int16ul,
    "realmode_swtch" / Int32ul,
    "start_sys_seg" / Int16ul,
    "kernel_version" / Int16ul,
    "type_of_loader" / Int8ul,
    "loadflags" / Int8ul,
    "setup_move_size" / Int16ul,
    "code32_start" / Int32ul,
    "ramdisk_image" / Int32ul,
    "ramdisk_size" / Int32ul,
    "bootsect_kludge" / Int32ul,
    "heap_end_ptr" / Int16ul,
    "ext_loader_ver" / Int8ul,
    "ext_loader_type" / Int8ul,
    "cmd_line_ptr" / Int32ul,
    "initrd_addr_max" / Int32ul,
    "kernel_alignment" / Int32ul,
    "relocatable_kernel" / Int8ul,
    "min_alignment" / Int8ul,
    "xloadflags" / Int16ul,
    "cmdline_size" / Int32ul,
    "hardware_subarch" / Int32ul,
    "hardware_subarch_data" / Int64ul,
    "payload_offset" / Int32ul,
    "payload_length" / Int32ul,
    "setup_data" / Int64ul,
    "pref_address" / Int64ul,
    "init_size" / Int32ul,
    "handover_offset" / Int32ul,
    "kernel_info_offset" / Int32ul,
)

# Linux Documentation/arch/arm64/booting.rst, "4. Call the kernel image"; Documentation/arch/riscv/
# boot-image-header.rst.
IMAGE_HEADER = Struct(
    "code0" / Int32ul,
    "code1" / Int32ul,
    "text_offset" / Int64ul,
    "image_size" / Int64ul,
    "flags" / Int64ul,
    "version" / Int32ul,
    "res1" / Int32ul,
    "res2" / Int64ul,
    "old_magic" / Bytes(8),
    "magic" / Bytes(4),
    "res5" / Int32ul,
)

# Linux Documentation/arch/loongarch/booting.rst, "Header information in vmlinux.efi".
VMLINUX_EFI_HEADER = Struct(
    "signature" / Bytes(2),
    Padding(6),
    "kernel_entry" / Int64ul,
    "image_size" / Int64ul,
    "load_offset" / Int64ul,
    Padding(24),
    "magic" / Bytes(4),
    "pe_header" / Int32ul,
)

# Microsoft's PE Format specification, "COFF File Header", with the signature in front.
COFF_HEADER = Struct(
    Padding(6),
    "number_of_sections" / Int16ul,
    Padding(12),
    "size_of_optional_header" / Int16ul,
    "characteristics" / Int16ul,
)

# The same, "Section Table (Section Headers)".
SECTION_HEADER = Struct(
    "name" / Bytes(8),
    "virtual_size" / Int32ul,
    "virtual_address" / Int32ul,
    "size_of_raw_data" / Int32ul,
    "pointer_to_raw_data" / Int32ul,
    Padding(16),
)

# U-Boot include/image.h, "struct legacy_img_hdr"; big-endian.
UIMAGE_HEADER = Struct(
    "magic" / Int32ub,
    "header_crc" / Int32ub,
    "time" / Int32ub,
    "size" / Int32ub,
    "load" / Int32ub,
    "entry" / Int32ub,
    "data_crc" / Int32ub,
    "os" / Int8ub,
    "arch" / Int8ub,
    "type" / Int8ub,
    "compression" / Int8ub,
    "name" / Bytes(32),
)

# beoboot-LANL's boot.h, "struct beoboot_header", as it is on x86.
BEOBOOT_HEADER = Struct(
    "magic" / Bytes(4),
    "arch" / Int8ul,
    "flags" / Int8ul,
    "cmdline_size" / Int16ul,
    "kernel_size" / Int32ul,
    "initrd_size" / Int32ul,
)

# Linux arch/x86/include/uapi/asm/setup_data.h, "struct boot_e820_entry".
BOOT_E820_ENTRY = Struct("addr" / Int64ul, "size" / Int64ul, "type" / Int32ul)
E820_MAX_ENTRIES_ZEROPAGE = 128

# Linux arch/x86/include/uapi/asm/bootparam.h, "struct efi_info".
EFI_INFO = Struct(
    "efi_loader_signature" / Bytes(4),
    "efi_systab" / Int32ul,
    "efi_memdesc_size" / Int32ul,
    "efi_memdesc_version" / Int32ul,
    "efi_memmap" / Int32ul,
    "efi_memmap_size" / Int32ul,
    "efi_systab_hi" / Int32ul,
    "efi_memmap_hi" / Int32ul,
)

# Linux include/uapi/linux/edd.h, "struct edd_info".
EDD_INFO = Struct(
    "device" / Int8ul,
    "version" / Int8ul,
    "interface_support" / Int16ul,
    "legacy_max_cylinder" / Int16ul,
    "legacy_max_head" / Int8ul,
    "legacy_sectors_per_track" / Int8ul,
    "params" / Bytes(74),
)

# Linux arch/x86/include/uapi/asm/bootparam.h, "struct boot_params"; Documentation/arch/x86/
# zero-page.rst. The setup header is one for itself.
BOOT_PARAMS = Struct(
    "screen_info" / Bytes(64),
    Padding(0x070 - 0x040),
    "acpi_rsdp_addr" / Int64ul,
    Padding(0x0C0 - 0x078),
    "ext_ramdisk_image" / Int32ul,
    "ext_ramdisk_size" / Int32ul,
    "ext_cmd_line_ptr" / Int32ul,
    Padding(0x1C0 - 0x0CC),
    "efi_info" / EFI_INFO,
    "alt_mem_k" / Int32ul,
    Padding(4),
    "e820_entries" / Int8ul,
    "eddbuf_entries" / Int8ul,
    "edd_mbr_sig_buf_entries" / Int8ul,
    Padding(1),
    "secure_boot" / Int8ul,
    Padding(SETUP_HEADER_OFFSET - 0x1ED),
    "hdr" / Bytes(0x290 - SETUP_HEADER_OFFSET),
    "edd_mbr_sig_buffer" / Array(16, Int32ul),
    "e820_table" / Bytes(E820_MAX_ENTRIES_ZEROPAGE * BOOT_E820_ENTRY.sizeof()),
    Padding(0xD00 - 0xCD0),
    "eddbuf" / Array(6, EDD_INFO),
    Padding(0x1000 - 0xEEC),
)

# Linux arch/x86/include/uapi/asm/setup_data.h, "struct setup_data", "struct ima_setup_data".
SETUP_DATA_HEADER = Struct("next" / Int64ul, "type" / Int32ul, "len" / Int32ul)
IMA_SETUP_DATA = Struct("addr" / Int64ul, "size" / Int64ul)

# Linux arch/x86/include/asm/efi.h, "struct efi_setup_data".
EFI_SETUP_DATA = Struct(
    "fw_vendor" / Int64ul,
    "runtime" / Int64ul,
    "tables" / Int64ul,
    "smbios" / Int64ul,
    Padding(8 * 8),
)

# UEFI 2.10, section 7.2.3, "EFI_MEMORY_DESCRIPTOR"; version 1. The kernel walks it by the size it
# is told.
EFI_MEMORY_DESCRIPTOR = Struct(
    "type" / Int32ul,
    Padding(4),
    "phys_addr" / Int64ul,
    "virt_addr" / Int64ul,
    "num_pages" / Int64ul,
    "attribute" / Int64ul,
)


def _of_a_kernel(
    order: str, u16: FormatField, u32: FormatField, u64: FormatField
) -> dict[str, Struct]:
    """Declare what a kernel writes for itself about a dump by firmware, in its own byte order.

    Linux arch/powerpc/include/asm/ptrace.h, asm/fadump-internal.h and
    platforms/powernv/opal-fadump.h. What of a pt_regs is the same in all kernels is "user_pt_regs".
    """
    known = ("nip", "msr", "orig_gpr3", "ctr", "link", "xer", "ccr", "softe", "trap", "dar",
             "dsisr", "result")  # fmt: skip
    return {
        f"PT_REGS_{order}": Struct("gpr" / Array(32, u64), *(name / u64 for name in known)),
        # Until Linux 6.9, with FADMPINF; since, with FADMPSIG.
        f"OLD_HEADER_{order}": Struct(
            "magic_number" / Bytes(8), "elfcorehdr_addr" / u64, "crashing_cpu" / u32, Padding(4)
        ),
        f"HEADER_{order}": Struct(
            "magic_number" / Bytes(8),
            "version" / u32,
            "crashing_cpu" / u32,
            "vmcoreinfo_raddr" / u64,
            "vmcoreinfo_size" / u64,
            "pt_regs_sz" / u32,
            "cpu_mask_sz" / u32,
        ),
        # On the mailing list as version 7 of the series, with the same magic and version.
        f"UNMERGED_HEADER_{order}": Struct(
            Padding(16),
            "elfcorehdr_addr" / u64,
            "elfcorehdr_size" / u64,
            "vmcoreinfo_raddr" / u64,
            "vmcoreinfo_size" / u64,
            "pt_regs_sz" / u32,
            "cpu_mask_sz" / u32,
        ),
        f"OPAL_METADATA_{order}": Struct(
            "version" / Int8ub,
            Padding(3),
            "region_cnt" / u16,
            "registered_regions" / u16,
            "fadumphdr_addr" / u64,
        ),
        f"OPAL_REGION_{order}": Struct("src" / u64, "dest" / u64, "size" / u64),
    }


# Linux arch/powerpc/platforms/pseries/rtas-fadump.h: what firmware reads and writes, big-endian.
DUMP_HEADER = Struct(
    "dump_format_version" / Int32ub,
    "dump_num_sections" / Int16ub,
    "dump_status_flag" / Int16ub,
    "offset_first_dump_section" / Int32ub,
    "dd_block_size" / Int32ub,
    "dd_block_offset" / Int64ub,
    "dd_num_blocks" / Int64ub,
    "dd_offset_disk_path" / Int32ub,
    "max_time_auto" / Int32ub,
)
DUMP_SECTION = Struct(
    "request_flag" / Int32ub,
    "source_data_type" / Int16ub,
    "error_flags" / Int16ub,
    "source_address" / Int64ub,
    "source_len" / Int64ub,
    "bytes_dumped" / Int64ub,
    "destination_address" / Int64ub,
)
REG_SAVE_AREA = Struct("magic_number" / Bytes(8), "version" / Int32ub, "num_cpu_offset" / Int32ub)
REG_COUNT = Struct("num_cpus" / Int32ub)

# Linux arch/powerpc/include/asm/opal-api.h and platforms/powernv/opal-fadump.h.
MPIPL = Struct(
    "version" / Int8ub,
    Padding(7),
    "crashing_pir" / Int32ub,
    "cpu_data_version" / Int32ub,
    "cpu_data_size" / Int32ub,
    "region_cnt" / Int32ub,
)
HDAT_THREAD = Struct(
    "pir" / Int32ub,
    "core_state" / Int8ub,
    Padding(3),
    "offset" / Int32ub,
    "ecnt" / Int32ub,
    "esize" / Int32ub,
    "eactsz" / Int32ub,
)

MODULES = {
    "formats": {
        "SETUP_HEADER": SETUP_HEADER,
        "IMAGE_HEADER": IMAGE_HEADER,
        "VMLINUX_EFI_HEADER": VMLINUX_EFI_HEADER,
        "COFF_HEADER": COFF_HEADER,
        "SECTION_HEADER": SECTION_HEADER,
        "UIMAGE_HEADER": UIMAGE_HEADER,
        "BEOBOOT_HEADER": BEOBOOT_HEADER,
    },
    "boot/x86": {
        "BOOT_E820_ENTRY": BOOT_E820_ENTRY,
        "EFI_INFO": EFI_INFO,
        "EDD_INFO": EDD_INFO,
        "BOOT_PARAMS": BOOT_PARAMS,
        "SETUP_DATA_HEADER": SETUP_DATA_HEADER,
        "IMA_SETUP_DATA": IMA_SETUP_DATA,
        "EFI_SETUP_DATA": EFI_SETUP_DATA,
        "EFI_MEMORY_DESCRIPTOR": EFI_MEMORY_DESCRIPTOR,
    },
    "crash/fadump": {
        **_of_a_kernel("LITTLE", Int16ul, Int32ul, Int64ul),
        **_of_a_kernel("BIG", Int16ub, Int32ub, Int64ub),
        "DUMP_HEADER": DUMP_HEADER,
        "DUMP_SECTION": DUMP_SECTION,
        "REG_SAVE_AREA": REG_SAVE_AREA,
        "REG_COUNT": REG_COUNT,
        "MPIPL": MPIPL,
        "HDAT_THREAD": HDAT_THREAD,
    },
}
"""What each ``_structures.py`` holds, by the directory in ``pykexec`` that it is in. A structure
within another stands before it."""
